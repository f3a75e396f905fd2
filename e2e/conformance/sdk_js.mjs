// AWS SDK for JavaScript v3: streams go unsigned with a trailing checksum, over HTTP too.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CopyObjectCommand, CreateBucketCommand, DeleteBucketCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand,
  ListObjectsV2Command, PutObjectCommand, S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const endpoint = process.argv[2];
const Bucket = "sdk-js-" + endpoint.split(":")[0];
const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });
const send = (Command, input) => client.send(new Command({ Bucket, ...input }));
const odd = "a b/é+%.txt";
const body = randomBytes(12 << 20);

await send(CreateBucketCommand);
await send(PutObjectCommand, { Key: odd, Body: "hello", Metadata: { Thing: "x" } });
const got = await send(GetObjectCommand, { Key: odd });
assert.equal(await got.Body.transformToString(), "hello");
assert.deepEqual(got.Metadata, { thing: "x" });
await send(PutObjectCommand, { Key: "stream", Body: Readable.from([body.subarray(0, 65536), body.subarray(65536)]), ContentLength: body.length });
for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
  const put = await send(PutObjectCommand, { Key: ChecksumAlgorithm, Body: body, ChecksumAlgorithm });
  assert.ok(put["Checksum" + ChecksumAlgorithm]);
}
await new Upload({ client, params: { Bucket, Key: "parts", Body: Readable.from([body]) } }).done();
for (const Key of ["stream", "parts", "SHA256"]) {
  const read = await send(GetObjectCommand, { Key, ChecksumMode: "ENABLED" });
  assert.equal(Buffer.compare(Buffer.from(await read.Body.transformToByteArray()), body), 0);
}
await send(CopyObjectCommand, { Key: "copy", CopySource: `${Bucket}/parts` });
await assert.rejects(send(HeadObjectCommand, { Key: "none" }), { name: "NotFound" });
const { Contents } = await send(ListObjectsV2Command);
assert.equal(Contents.length, 9);
const { Deleted } = await send(DeleteObjectsCommand, { Delete: { Objects: Contents.map(({ Key }) => ({ Key })) } });
assert.equal(Deleted.length, 9);
await send(DeleteBucketCommand);
