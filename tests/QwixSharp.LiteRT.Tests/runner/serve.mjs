// Answers requests for runs of .tflite files, a line of JSON each:
//   {"engine": "litert" | "tfjs", "model": path, "signature": key or null, "inputs": {name: base64} or [base64, …]}
// with {"outputs": [{"name", "dtype", "shape", "data": base64}]} or {"error": text}.
import fs from 'node:fs';
import readline from 'node:readline';

const engines = {};

async function engine(name) {
  if (!engines[name]) {
    const { start, load } = await import(`./${name}.mjs`);
    engines[name] = { runtime: await start(), load };
  }
  return engines[name];
}

async function answer(request) {
  const { runtime, load } = await engine(request.engine);
  const model = await load(runtime, new Uint8Array(fs.readFileSync(request.model)));
  try {
    const index = request.signature ? model.signatures.findIndex(signature => signature.key === request.signature) : 0;
    if (index < 0) throw Error(`no signature ${request.signature}; there are ${model.signatures.map(signature => signature.key)}`);
    const inputs = model.signatures[index].inputs.map(({ name }, i) => {
      const data = Array.isArray(request.inputs) ? request.inputs[i] : request.inputs[name];
      if (data === undefined) throw Error(`input ${name} is missing`);
      return Buffer.from(data, 'base64');
    });
    const outputs = await model.run(index, inputs);
    return { outputs: outputs.map(output => ({ ...output, data: output.data.toString('base64') })) };
  } finally {
    model.free();
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let result;
  try {
    result = await answer(JSON.parse(line));
  } catch (error) {
    result = { error: String(error?.message ?? error) };
  }
  process.stdout.write(JSON.stringify(result) + '\n');
}
