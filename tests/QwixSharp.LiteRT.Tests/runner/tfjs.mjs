// The older TensorFlow Lite of @tensorflow/tfjs-tflite in Node.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node_modules/@tensorflow/tfjs-tflite/wasm');
const list = vector => Array.from({ length: vector.size() }, (_, i) => vector.get(i));
const describe = tensor => ({ name: tensor.name, dtype: tensor.dataType, shape: typeof tensor.shape === 'string' ? tensor.shape.split(',').filter(size => size).map(Number) : [...tensor.shape] });

export async function start() {
  const source = fs.readFileSync(path.join(folder, 'tflite_web_api_cc_simd.js'), 'utf8');
  const make = new Function('document', 'window', 'importScripts', source + '\nreturn tflite_web_api_ModuleFactory;')();
  const silent = () => {};
  return make({ wasmBinary: fs.readFileSync(path.join(folder, 'tflite_web_api_cc_simd.wasm')), print: silent, printErr: silent });
}

export async function load(module, bytes) {
  const memory = module._malloc(bytes.length);
  module.HEAPU8.set(bytes, memory);
  const created = module.TFLiteWebModelRunner.CreateFromBufferAndOptions(memory, bytes.length, { numThreads: 1, enableWebNNDelegate: false, webNNDevicePreference: 0, enableProfiling: false, maxProfilingBufferEntries: 0 });
  if (!created.ok()) throw Error(created.errorMessage());
  const runner = created.value();
  return {
    signatures: [{ key: 'main', inputs: list(runner.GetInputs()).map(describe), outputs: list(runner.GetOutputs()).map(describe) }],
    async run(index, inputs) {
      list(runner.GetInputs()).forEach((tensor, i) => {
        const data = tensor.data();
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength).set(inputs[i]);
      });
      if (!runner.Infer()) throw Error('the run failed');
      return list(runner.GetOutputs()).map(tensor => {
        const data = tensor.data();
        return { ...describe(tensor), data: Buffer.from(data.buffer, data.byteOffset, data.byteLength) };
      });
    },
    free() { runner.delete(); module._free(memory); },
  };
}
