// What a program does with a `Client`, the same for both versions of the SDK.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { connections, says, statuses, URL_OF_SERVICE } from "./services.mjs";

const contents = (values) => values.messages.map((message) => message.content);

async function all(stream) {
  const found = [];
  for await (const part of stream) found.push(part);
  return found;
}

const named = (parts, name) => parts.filter((part) => part.event === name).map((part) => part.data);

async function thread(client) {
  return (await client.threads.create()).thread_id;
}

export function clientScenarios(Client) {
  const client = new Client({ apiUrl: URL_OF_SERVICE });

  return {
    async "runs.stream: values and updates"() {
      const threadId = await thread(client);
      let created;

      const parts = await all(
        client.runs.stream(threadId, "steps", {
          input: { n: 0 },
          streamMode: ["values", "updates"],
          onRunCreated: (run) => (created = run),
        }),
      );

      assert.equal(parts[0].event, "metadata");
      assert.equal(parts[0].data.run_id, created.run_id);
      assert.equal(created.thread_id, threadId);
      assert.deepEqual(named(parts, "values").at(-1), { n: 3, log: ["a", "b", "c"] });
      assert.deepEqual(named(parts, "updates"), [
        { a: { n: 1, log: ["a"] } },
        { b: { n: 2, log: ["b"] } },
        { c: { n: 3, log: ["c"] } },
      ]);
      assert.equal((await client.runs.get(threadId, created.run_id)).status, "success");
    },

    async "runs.stream: messages"() {
      const threadId = await thread(client);

      const parts = await all(
        client.runs.stream(threadId, "chat", { input: says("hello"), streamMode: ["messages-tuple"] }),
      );

      const chunks = named(parts, "messages");
      assert.ok(chunks.length > 5, "it came in pieces");
      assert.equal(chunks.map(([chunk]) => chunk.content).join(""), "You said: hello");
      assert.equal(new Set(chunks.map(([chunk]) => chunk.id)).size, 1);
      assert.ok(
        chunks.every(([chunk, about]) => chunk.type === "AIMessageChunk" && about.langgraph_node === "model"),
      );
      assert.deepEqual(named(parts, "values"), []);
    },

    async "runs.stream: without a thread"() {
      const parts = await all(
        client.runs.stream(null, "echo", { input: says("hello"), streamMode: "values" }),
      );

      assert.deepEqual(contents(named(parts, "values").at(-1)), ["hello", "echo: hello"]);
    },

    async "runs.stream: an interrupt, and the answer"() {
      const threadId = await thread(client);

      const asked = await all(
        client.runs.stream(threadId, "approval", { input: { topic: "lunch" }, streamMode: "values" }),
      );

      const [question] = named(asked, "values").at(-1).__interrupt__;
      assert.deepEqual(question.value, { question: "approve lunch?" });

      const answered = await all(
        client.runs.stream(threadId, "approval", {
          command: { resume: "yes" },
          streamMode: ["updates", "values"],
        }),
      );
      assert.deepEqual(named(answered, "values").at(-1), {
        topic: "lunch",
        answer: "yes",
        log: ["ask", "done"],
      });
      assert.deepEqual(named(answered, "updates").at(-1), { done: { log: ["done"] } });
    },

    async "runs.stream: a failing graph"() {
      const threadId = await thread(client);

      const parts = await all(
        client.runs.stream(threadId, "failing", { input: { x: "paper" }, streamMode: "updates" }),
      );

      assert.deepEqual(named(parts, "updates"), [{ first: { good: true } }]);
      assert.deepEqual(named(parts, "error"), [{ error: "ValueError", message: "boom: paper" }]);
    },

    async "runs.wait: the values, and an error"() {
      const threadId = await thread(client);

      const values = await client.runs.wait(threadId, "echo", { input: says("hello") });
      assert.deepEqual(contents(values), ["hello", "echo: hello"]);
      assert.deepEqual(contents(await client.runs.wait(null, "echo", { input: says("once") })), [
        "once",
        "echo: once",
      ]);

      await assert.rejects(client.runs.wait(null, "failing", { input: { x: "paper" } }), /boom: paper/);
      await assert.rejects(client.runs.wait(crypto.randomUUID(), "echo", { input: says("who?") }), /404/);
    },

    async "runs.joinStream: in the middle, and again from the start"() {
      const threadId = await thread(client);
      const run = await client.runs.create(threadId, "slow", {
        input: { delay: 0.2 },
        streamMode: ["values", "updates"],
        streamResumable: true,
      });

      const live = await all(client.runs.joinStream(threadId, run.run_id, { lastEventId: "-1" }));
      assert.deepEqual(named(live, "values").at(-1).log, ["s0", "s1", "s2", "s3", "s4"]);
      assert.equal(named(live, "updates").length, 5);

      const again = await all(client.runs.joinStream(threadId, run.run_id, { lastEventId: "-1" }));
      assert.deepEqual(again, live);

      const seen = live.findIndex(({ event, data }) => event === "values" && data.log.length === 2);
      const rest = await all(client.runs.joinStream(threadId, run.run_id, { lastEventId: live[seen].id }));
      assert.deepEqual(rest, live.slice(seen + 1));

      const updates = await all(
        client.runs.joinStream(threadId, run.run_id, { lastEventId: "-1", streamMode: "updates" }),
      );
      assert.deepEqual(named(updates, "updates"), named(live, "updates"));
      assert.deepEqual(named(updates, "values"), []);
    },

    async "runs.joinStream: what nobody asked to keep"() {
      const threadId = await thread(client);
      // Long enough for a function that follows it to start cold: a run that has ended is not replayed unasked.
      const run = await client.runs.create(threadId, "slow", { input: { delay: 0.6 }, streamMode: "values" });

      const live = await all(client.runs.joinStream(threadId, run.run_id));

      assert.deepEqual(named(live, "values").at(-1).log, ["s0", "s1", "s2", "s3", "s4"]);
    },

    async "runs: create, list, get, join and delete"() {
      const threadId = await thread(client);
      const run = await client.runs.create(threadId, "echo", {
        input: says("hello"),
        metadata: { ticket: 7 },
      });
      assert.equal(run.status, "pending");

      assert.deepEqual(contents(await client.runs.join(threadId, run.run_id)), ["hello", "echo: hello"]);

      const [listed, ...others] = await client.runs.list(threadId);
      assert.deepEqual([listed.run_id, listed.status, others], [run.run_id, "success", []]);
      assert.deepEqual((await client.runs.get(threadId, run.run_id)).metadata.ticket, 7);
      await client.runs.delete(threadId, run.run_id);
      await assert.rejects(client.runs.get(threadId, run.run_id), /404/);
    },

    async "runs.cancel: and wait for it"() {
      const threadId = await thread(client);
      const run = await client.runs.create(threadId, "slow", { input: { delay: 10 } });

      await client.runs.cancel(threadId, run.run_id, true);

      assert.equal((await client.runs.get(threadId, run.run_id)).status, "interrupted");
      await assert.rejects(client.runs.cancel(threadId, run.run_id), /404/);
    },

    async "runs.stream: leaving cancels the run"() {
      const threadId = await thread(client);
      const leave = new AbortController();
      const stream = client.runs.stream(threadId, "slow", {
        input: { delay: 0.4 },
        streamMode: "updates",
        onDisconnect: "cancel",
        signal: leave.signal,
      });

      for await (const part of stream) if (part.event === "updates") leave.abort();

      assert.deepEqual(await statuses(client, threadId), ["interrupted"]);
      const { log } = (await client.threads.getState(threadId)).values;
      assert.ok(log.length >= 1 && log.length < 5, `it stopped at ${log}`);
    },

    async "threads: create, get, update and delete"() {
      const threadId = crypto.randomUUID();
      const created = await client.threads.create({ threadId, metadata: { user: "ada" } });
      assert.deepEqual([created.thread_id, created.status], [threadId, "idle"]);
      await assert.rejects(client.threads.create({ threadId }), /409/);
      assert.equal((await client.threads.create({ threadId, ifExists: "do_nothing" })).thread_id, threadId);

      await client.threads.update(threadId, { metadata: { tier: "gold" } });

      assert.deepEqual((await client.threads.get(threadId)).metadata, { user: "ada", tier: "gold" });
      await client.threads.delete(threadId);
      await assert.rejects(client.threads.get(threadId), /404/);
    },

    async "threads: state and history"() {
      const threadId = await thread(client);
      assert.equal((await client.threads.getState(threadId)).checkpoint, null);
      for (const content of ["one", "two"])
        await client.runs.wait(threadId, "echo", { input: says(content) });

      const state = await client.threads.getState(threadId);
      assert.deepEqual(contents(state.values), ["one", "echo: one", "two", "echo: two"]);
      assert.deepEqual(state.next, []);

      const history = await client.threads.getHistory(threadId, { limit: 100 });
      assert.deepEqual(
        history.map((old) => old.metadata.step),
        [4, 3, 2, 1, 0, -1],
      );
      for (const [place, old] of history.slice(0, -1).entries())
        assert.deepEqual(old.parent_checkpoint, history[place + 1].checkpoint);
      assert.equal((await client.threads.getHistory(threadId, { limit: 2 })).length, 2);

      const back = history.find((old) => old.metadata.step === 1);
      const { checkpoint_id: id } = back.checkpoint;
      assert.deepEqual(contents((await client.threads.getState(threadId, id)).values), ["one", "echo: one"]);
      const forked = await client.runs.wait(threadId, "echo", { input: says("zwei"), checkpointId: id });
      assert.deepEqual(contents(forked), ["one", "echo: one", "zwei", "echo: zwei"]);
    },

    async "threads.updateState"() {
      const threadId = await thread(client);
      await client.runs.wait(threadId, "steps", { input: { n: 0 } });

      const { checkpoint } = await client.threads.updateState(threadId, {
        values: { n: 40, log: ["by hand"] },
        asNode: "b",
      });

      const state = await client.threads.getState(threadId);
      assert.equal(state.checkpoint.checkpoint_id, checkpoint.checkpoint_id);
      assert.deepEqual([state.values, state.next], [{ n: 40, log: ["a", "b", "c", "by hand"] }, ["c"]]);
    },

    async "threads.copy"() {
      const threadId = await thread(client);
      await client.runs.wait(threadId, "echo", { input: says("one") });

      const copy = await client.threads.copy(threadId);

      assert.notEqual(copy.thread_id, threadId);
      assert.deepEqual(contents((await client.threads.getState(copy.thread_id)).values), [
        "one",
        "echo: one",
      ]);
    },

    async "threads.search"() {
      const mark = crypto.randomUUID();
      const { thread_id: threadId } = await client.threads.create({ metadata: { mark } });

      const found = await client.threads.search({ metadata: { mark }, limit: 10 });

      assert.deepEqual(
        found.map((one) => one.thread_id),
        [threadId],
      );
    },

    async "threads.joinStream"() {
      const threadId = await thread(client);
      const { fetch, requests } = connections();
      const reader = new Client({ apiUrl: URL_OF_SERVICE, callerOptions: { fetch } });
      const leave = new AbortController();
      const following = reader.threads.joinStream(threadId, { signal: leave.signal });
      const seen = [];
      const reading = (async () => {
        for await (const part of following) {
          seen.push(part);
          if (part.data?.status === "run_done") break;
        }
      })();
      while (!requests[0]?.status) await pause(20);

      const run = await client.runs.create(threadId, "echo", { input: says("hello"), streamMode: "values" });
      await reading;
      leave.abort();

      assert.deepEqual(contents(named(seen, "values").at(-1)), ["hello", "echo: hello"]);
      assert.equal(seen.at(-1).data.run_id, run.run_id);
    },

    async "store: put, get, search, delete"() {
      const namespace = ["notes", crypto.randomUUID()];
      await client.store.putItem(namespace, "first", { about: "rain", stars: 2 });
      await client.store.putItem(namespace, "second", { about: "sun", stars: 5 });

      const item = await client.store.getItem(namespace, "first");
      assert.deepEqual([item.namespace, item.key, item.value], [namespace, "first", { about: "rain", stars: 2 }]);
      const { items } = await client.store.searchItems(namespace, { filter: { stars: { $gt: 3 } } });
      assert.deepEqual(items.map(({ key }) => key), ["second"]);
      assert.deepEqual(await client.store.listNamespaces({ prefix: namespace }), { namespaces: [namespace] });

      await client.store.deleteItem(namespace, "first");
      assert.equal(await client.store.getItem(namespace, "first"), null);
    },

    async "crons: create, search, delete"() {
      const cron = await client.crons.create("steps", { schedule: "0 3 1 1 *", input: { n: 0 } });
      const onThread = await client.crons.createForThread(await thread(client), "steps", { schedule: "0 3 * * 7" });

      assert.match(cron.next_run_date, /-01-01T03:00:00/);
      const found = await client.crons.search({ limit: 100 });
      const ids = found.map(({ cron_id }) => cron_id);
      for (const { cron_id } of [cron, onThread]) {
        assert.ok(ids.includes(cron_id));
        await client.crons.delete(cron_id);
      }
      await assert.rejects(client.crons.delete(cron.cron_id), /404/);
    },
  };
}

/** `client.threads.stream()`, which the older SDK does not have. */
export function threadStreamScenarios(Client) {
  const client = new Client({ apiUrl: URL_OF_SERVICE });

  return {
    async "threads.stream: a chat"() {
      const stream = client.threads.stream({ assistantId: "chat" });
      const pieces = [];
      const reading = (async () => {
        for await (const message of stream.messages)
          for await (const piece of message.text) pieces.push(piece);
      })();
      const { run_id: runId } = await stream.run.start({ input: says("hello") });

      const values = await stream.output;
      await reading;
      await stream.close();

      assert.deepEqual(
        values.messages.map((message) => message.text),
        ["hello", "You said: hello"],
      );
      assert.equal(pieces.join(""), "You said: hello");
      assert.ok(pieces.length > 5, "it came in pieces");
      assert.equal((await client.runs.get(stream.threadId, runId)).status, "success");
    },

    async "threads.stream: an interrupt, and the answer"() {
      const stream = client.threads.stream({ assistantId: "approval" });
      await stream.run.start({ input: { topic: "lunch" } });
      await stream.output;

      assert.equal(stream.interrupted, true);
      const [{ interruptId, payload, namespace }] = stream.interrupts;
      assert.deepEqual([payload, namespace], [{ question: "approve lunch?" }, []]);
      await stream.input.respond({ namespace, interrupt_id: interruptId, response: "yes" });

      assert.deepEqual(await statuses(client, stream.threadId), ["success", "success"]);
      await stream.close();
      const { values } = await client.threads.getState(stream.threadId);
      assert.deepEqual(values, { topic: "lunch", answer: "yes", log: ["ask", "done"] });
    },

    async "threads.stream: a failing graph"() {
      const stream = client.threads.stream({ assistantId: "failing" });
      const lifecycle = await stream.subscribe("lifecycle");
      await stream.run.start({ input: { x: "paper" } });

      let end;
      for await (const { params } of lifecycle)
        if (!params.namespace.length && ["failed", "completed"].includes(params.data.event)) {
          end = params.data;
          break;
        }
      await stream.close();

      assert.equal(end.event, "failed");
      assert.match(end.error, /boom: paper/);
    },

    async "threads.stream: a second reader sees the whole run"() {
      const first = client.threads.stream({ assistantId: "slow" });
      await first.run.start({ input: { delay: 0.2 } });

      const second = client.threads.stream(first.threadId, { assistantId: "slow" });
      const logs = [];
      for await (const values of second.values) logs.push(values.log.length);
      await Promise.all([first.close(), second.close()]);

      assert.deepEqual(logs, [0, 1, 2, 3, 4, 5]);
    },
  };
}
