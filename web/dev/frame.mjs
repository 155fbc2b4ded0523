// Writes the frame of docs/frame.md from a header in which arrays stand as {f4: […]} or {f8: […]}.
// For the fixture server and tests.

/** @param {object} header @returns {ArrayBuffer} */
export function encodeFrame(header) {
  const arrays = [];
  let offset = 0;
  const text = JSON.stringify(header, (_, value) => {
    if (value && typeof value === 'object' && !Array.isArray(value)) {
      const dtype = 'f4' in value ? 'f4' : 'f8' in value ? 'f8' : null;
      if (dtype) {
        const data = dtype === 'f4' ? Float32Array.from(value.f4) : Float64Array.from(value.f8);
        const reference = { offset, length: data.length, dtype };
        arrays.push([offset, data]);
        offset += Math.ceil(data.byteLength / 8) * 8;
        return reference;
      }
    }
    return value;
  });
  const head = new TextEncoder().encode(text);
  const length = Math.ceil(head.length / 8) * 8;
  const buffer = new ArrayBuffer(8 + length + offset);
  const bytes = new Uint8Array(buffer);
  bytes.set([0x43, 0x43, 0x46, 0x31]);
  new DataView(buffer).setUint32(4, length, true);
  bytes.fill(0x20, 8, 8 + length);
  bytes.set(head, 8);
  for (const [at, data] of arrays) bytes.set(new Uint8Array(data.buffer), 8 + length + at);
  return buffer;
}
