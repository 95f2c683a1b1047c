// What the tests run of @durable-streams/client and @durable-streams/state: node client.mjs COMMAND URL ...
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import { MaterializedState } from "@durable-streams/state";

// Repeat a request that got no answer. The producer itself repeats those that arrive in the wrong order.
async function fetchAgain(...request) {
  for (;;) {
    try {
      return await fetch(...request);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const commands = {
  // Append numbers as JSON, a few to a request, and close the stream. Prints how many are sent, as a sign of life.
  async produce(url, count) {
    const target = await DurableStream.create({ url, contentType: "application/json" });
    const errors = [];
    const producer = new IdempotentProducer(target, "numbers", {
      lingerMs: 0,
      maxBatchBytes: 500,
      fetch: fetchAgain,
      onError: (error) => errors.push(String(error)),
    });
    for (let number = 0; number < count; number++) {
      producer.append(JSON.stringify({ number }));
      if (number % 100 === 99) {
        await producer.flush();
        console.log(number);
      }
    }
    await producer.close();
    console.log(JSON.stringify({ errors }));
  },

  // Read to the end of the stream, live, and print every value.
  async read(url, live) {
    const response = await stream({ url, offset: "-1", live: live === "auto" ? true : live, json: true });
    const items = [];
    for await (const item of response.jsonStream()) {
      items.push(item);
    }
    console.log(JSON.stringify({ items, closed: response.streamClosed }));
  },

  // Read text to the end of the stream.
  async text(url, live) {
    const response = await stream({ url, offset: "-1", live });
    let text = "";
    for await (const piece of response.textStream()) {
      text += piece;
    }
    console.log(JSON.stringify({ text, closed: response.streamClosed }));
  },

  // Append changes of the State Protocol, read them back and print the state that they make.
  async state(url) {
    const target = await DurableStream.create({ url, contentType: "application/json" });
    const change = (key, operation, value) =>
      target.append(JSON.stringify({ type: "user", key, value, headers: { operation } }));
    await change("1", "insert", { name: "Ada" });
    await change("2", "insert", { name: "Bob" });
    await change("1", "update", { name: "Ada Lovelace" });
    await change("2", "delete");
    const response = await stream({ url, offset: "-1", live: false });
    const state = new MaterializedState();
    state.applyBatch(await response.json());
    console.log(JSON.stringify(Object.fromEntries(state.getType("user"))));
  },
};

const [command, ...values] = process.argv.slice(2);
await commands[command](...values);
