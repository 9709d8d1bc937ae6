// LiteRT in Node: the WebAssembly of @litertjs/core, called without its JavaScript layer, which knows few dtypes.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { place } from './files.mjs';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node_modules/@litertjs/core/wasm');
const dtypes = { 1: 'float32', 2: 'int32', 3: 'uint8', 4: 'int64', 6: 'bool', 7: 'int16', 9: 'int8' };
const list = vector => { const items = Array.from({ length: vector.size() }, (_, i) => vector.get(i)); vector.delete(); return items; };

function describe(type) {
  const element = type.elementType().value, layout = type.layout();
  const described = { element, dtype: dtypes[element] ?? `type ${element}`, shape: list(layout.dimensions()), bytes: type.bytes() };
  layout.delete();
  type.delete();
  return described;
}

export async function start() {
  const file = path.join(folder, 'litert_wasm_compat_internal.js');
  const errors = [];
  const listen = (...words) => { if (/^ERROR/.test(words.join(' '))) errors.push(words.join(' ')); };
  const make = new Function('require', '__filename', '__dirname', fs.readFileSync(file, 'utf8') + '\nreturn ModuleFactory;');
  const module = await make(createRequire(import.meta.url), file, folder)({ locateFile: name => path.join(folder, name), print: listen, printErr: listen });
  module.setupLogging();
  return { module, errors, environment: module.LiteRtEnvironment.create(null) };
}

function tensorBuffer({ module, environment }, input, data) {
  if (data.byteLength !== input.bytes) throw Error(`input ${input.name}: ${data.byteLength} bytes, the model wants ${input.bytes}`);
  const sizes = new module.VectorInt32();
  input.shape.forEach(size => sizes.push_back(size));
  const layout = module.LiteRtLayout.create(sizes), type = module.LiteRtRankedTensorType.create({ value: input.element }, layout);
  const buffer = module.LiteRtTensorBuffer.createManaged(environment, module.LiteRtTensorBufferType.HOST_MEMORY, type, data.byteLength);
  module.HEAPU8.set(data, buffer.lock(module.LiteRtTensorBufferLockMode.WRITE));
  buffer.unlock();
  for (const temporary of [sizes, layout, type]) temporary.delete();
  return buffer;
}

export async function load(runtime, path) {
  const { module, environment, errors } = runtime;
  errors.length = 0;
  const { start, length, memory } = place(module, path);
  const model = module.loadModel(environment, start, length);
  const compiled = await module.compileModel(environment, model, { accelerator: 'wasm', cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} });
  if (errors.length) throw Error(errors.slice(0, 4).join(' | '));
  const signatures = Array.from({ length: model.getNumSignatures() }, (_, s) => {
    const signature = model.getSignature(s);
    return {
      key: signature.key(),
      inputs: list(signature.inputNames()).map((name, i) => ({ name, ...describe(model.getInputTensorType(s, i)) })),
      outputs: list(signature.outputNames()).map((name, i) => ({ name, ...describe(model.getOutputTensorType(s, i)) })),
    };
  });

  const ran = new Set();
  async function runOnce(index, inputs) {
    const buffers = signatures[index].inputs.map((input, i) => tensorBuffer(runtime, input, inputs[i]));
    errors.length = 0;
    const results = await compiled.run(index, buffers);
    buffers.forEach(buffer => buffer.delete());
    const outputs = results.map((buffer, i) => {
      const { dtype, shape } = describe(buffer.tensorType());
      const at = buffer.lock(module.LiteRtTensorBufferLockMode.READ);
      const data = Buffer.from(module.HEAPU8.slice(at, at + buffer.packedSize()));
      buffer.unlock();
      buffer.delete();
      return { name: signatures[index].outputs[i].name, dtype, shape, data };
    });
    // A failing run throws nothing: it logs, and its results are whatever the memory held.
    if (errors.length) throw Error(errors.slice(0, 4).join(' | '));
    return outputs;
  }

  return {
    signatures,
    async run(index, inputs) {
      if (!ran.has(index)) await runOnce(index, inputs); // the first run reports the shapes that the file declares, the others those computed
      ran.add(index);
      const outputs = await runOnce(index, inputs);
      outputs.forEach((output, i) => {
        const declared = signatures[index].outputs[i].shape;
        if (declared.join() !== output.shape.join()) throw Error(`output ${output.name}: declared [${declared}], computed [${output.shape}]`);
      });
      return outputs;
    },
    free() { compiled.delete(); model.delete(); module._free(memory); },
  };
}
