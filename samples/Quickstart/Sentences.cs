namespace QwixSharp.Samples.Quickstart;

/// <summary>What the sample embeds: sentences of different lengths, about different things, some of them near in meaning.</summary>
public static class Sentences
{
    /// <summary>The sentences.</summary>
    public static readonly IReadOnlyList<string> All =
    [
        "The ferry to the island leaves at half past six every morning.",
        "Boats cross to the island once a day, early in the morning.",
        "Stir the onions over low heat until they turn golden, then add the garlic.",
        "My grandmother never measured the flour; she could tell by touch when the dough was right.",
        "Interest rates were left unchanged on Thursday, as most economists had expected.",
        "The central bank kept its key rate where it was.",
        "Water boils at a lower temperature on a mountain because the air pressure is lower.",
        "How do I reset my password if I no longer have access to my old e-mail address?",
        "I cannot log in because the reset link is sent to a mailbox that I have lost.",
        "The function returns null when the key is missing, so check the result before you use it.",
        "A deadlock occurs when two threads each wait for a lock that the other one holds.",
        "She scored twice in the second half, and the stadium would not stop singing.",
        "After ninety goalless minutes the match was decided on penalties.",
        "Take one tablet twice a day with food, and see a doctor if the fever lasts more than three days.",
        "The patient was discharged on the fourth day after surgery without complications.",
        "In 1928 Alexander Fleming noticed that a mould had killed the bacteria around it.",
        "Penicillin was discovered by accident in a laboratory in London.",
        "The cellist closed her eyes, lifted the bow, and let the last note hang in the air.",
        "Rain is likely in the north tonight, with strong winds along the coast and snow above eight hundred metres.",
        "The tenant shall return the keys to the landlord no later than noon on the last day of the lease.",
        "Our cat sleeps on the radiator from November to March.",
        "Light from the nearest star beyond the Sun takes a little over four years to reach us.",
        "The museum is closed on Mondays, except on public holidays.",
        "Nobody spoke.",
    ];
}
