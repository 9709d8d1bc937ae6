// Answers requests for runs of .tflite files, a line of JSON each:
//   {"model": path, "engines": ["litert" | "tfjs", …], "signature": key or null, "batches": [{name: base64} or [base64, …], …]}
// with a list that has, for each engine, {"batches": [[{"name", "dtype", "shape", "data": base64}, …], …]} or {"error": text}.
import readline from 'node:readline';

const engines = {};

async function engine(name) {
  if (!engines[name]) {
    const { start, load } = await import(`./${name}.mjs`);
    engines[name] = { runtime: await start(), load };
  }
  return engines[name];
}

async function run(name, path, signature, batches) {
  const { runtime, load } = await engine(name);
  const model = await load(runtime, path);
  try {
    const index = signature ? model.signatures.findIndex(({ key }) => key === signature) : 0;
    if (index < 0) throw Error(`no signature ${signature}; there are ${model.signatures.map(({ key }) => key)}`);
    const results = [];
    for (const batch of batches) {
      const inputs = model.signatures[index].inputs.map(({ name }, i) => {
        const data = Array.isArray(batch) ? batch[i] : batch[name];
        if (data === undefined) throw Error(`input ${name} is missing`);
        return Buffer.from(data, 'base64');
      });
      const outputs = await model.run(index, inputs);
      results.push(outputs.map(output => ({ ...output, data: output.data.toString('base64') })));
    }
    return results;
  } finally {
    model.free();
  }
}

async function answer({ model, engines, signature, batches }) {
  const answers = [];
  for (const name of engines) {
    try {
      answers.push({ batches: await run(name, model, signature, batches) });
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) delete engines[name]; // it has aborted: the next file gets another
      answers.push({ error: String(error?.message ?? error) });
    }
  }
  return answers;
}

for await (const line of readline.createInterface({ input: process.stdin }))
  process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + '\n');
