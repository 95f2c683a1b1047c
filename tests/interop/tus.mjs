// Upload a file with tus-js-client and print the result as JSON: node tus.mjs URL PROTOCOL FILE during|after
// `during` sends bytes with the creation. The result has the method and status of each request, in order, but
// not of requests without a response.
import fs from "node:fs";
import * as tus from "tus-js-client";

const [url, protocol, file, when] = process.argv.slice(2);
const size = fs.statSync(file).size;
const requests = [];

const upload = new tus.Upload(size ? fs.createReadStream(file) : fs.readFileSync(file), {
  endpoint: url,
  protocol,
  uploadSize: size,
  chunkSize: 2_000_000,
  uploadDataDuringCreation: when === "during",
  retryDelays: [50, 100, 200, 200, 200, 200],
  onAfterResponse: (request, response) => {
    requests.push(`${request.getMethod()} ${response.getStatus()}`);
  },
  onSuccess: () => console.log(JSON.stringify({ requests })),
  onError: (error) => {
    console.log(JSON.stringify({ requests, error: String(error) }));
    process.exitCode = 1;
  },
});
upload.start();
