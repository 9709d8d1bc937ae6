// The older TensorFlow Lite of @tensorflow/tfjs-tflite in Node.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { place } from './files.mjs';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node_modules/@tensorflow/tfjs-tflite/wasm');
const list = vector => Array.from({ length: vector.size() }, (_, i) => vector.get(i));
const describe = tensor => ({ name: tensor.name, dtype: tensor.dataType, shape: typeof tensor.shape === 'string' ? tensor.shape.split(',').filter(size => size).map(Number) : [...tensor.shape] });

// A tensor's bytes in the module's memory.
function view(tensor, length) {
  const data = tensor.data();
  if (!data || (length ?? data.byteLength) !== data.byteLength) throw Error(`tensor ${tensor.name}: no access to ${tensor.dataType}`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export async function start() {
  const source = fs.readFileSync(path.join(folder, 'tflite_web_api_cc_simd.js'), 'utf8');
  const make = new Function('document', 'window', 'importScripts', source + '\nreturn tflite_web_api_ModuleFactory;')();
  const log = [];
  const listen = (...words) => log.push(words.join(' '));
  return { module: await make({ wasmBinary: fs.readFileSync(path.join(folder, 'tflite_web_api_cc_simd.wasm')), print: listen, printErr: listen }), log };
}

export async function load({ module, log }, path) {
  log.length = 0;
  // What goes wrong is in the log; the answer says that something did.
  const failed = what => Error([what, ...log].join(' | '));
  const { start, length, memory } = place(module, path);
  const created = module.TFLiteWebModelRunner.CreateFromBufferAndOptions(start, length, { numThreads: 1, enableWebNNDelegate: false, webNNDevicePreference: 0, enableProfiling: false, maxProfilingBufferEntries: 0 });
  if (!created.ok()) {
    module._free(memory);
    throw failed(created.errorMessage());
  }
  const runner = created.value();
  return {
    signatures: [{ key: 'main', inputs: list(runner.GetInputs()).map(describe), outputs: list(runner.GetOutputs()).map(describe) }],
    async run(index, inputs) {
      list(runner.GetInputs()).forEach((tensor, i) => view(tensor, inputs[i].length).set(inputs[i]));
      if (!runner.Infer()) throw failed('the run failed');
      return list(runner.GetOutputs()).map(tensor => ({ ...describe(tensor), data: Buffer.from(view(tensor)) }));
    },
    free() { runner.delete(); module._free(memory); },
  };
}
