// What a person does on a page, the same for every hook.

import assert from "node:assert/strict";

import { says, statuses } from "./services.mjs";

const HELLO = "hello to whoever listens at the other end, however slowly that may be";
const LONG = "a story that is long enough to be left and come back to before it has been told";
const ENDLESS = `and ${"on and ".repeat(100)} so on`;

const reply = (content) => `You said: ${content}`;
const last = (screen) => screen.texts.at(-1);
/** The answer has begun, and has not ended. */
const midway = (content) => (screen) =>
  screen.texts.length > 1 && last(screen).length > 3 && last(screen).length < reply(content).length;
/** The parts of an answer that a page has shown before it was whole. */
const partials = (page, content) =>
  new Set(
    page.shown
      .map(last)
      .filter((shown) => shown && shown !== reply(content) && reply(content).startsWith(shown)),
  );

async function twoTurns(client) {
  const { thread_id: threadId } = await client.threads.create();
  for (const content of ["one", "two"]) await client.runs.wait(threadId, "echo", { input: says(content) });
  return threadId;
}

const CONVERSATIONS = {
  async chat(app) {
    const page = await app.open("chat");

    await page.stream.submit(says(HELLO));

    const screen = await page.settled("the answer", (shown) => last(shown) === reply(HELLO));
    assert.deepEqual(screen.texts, [HELLO, reply(HELLO)]);
    assert.equal(screen.error, undefined);
    assert.ok(partials(page, HELLO).size, "the answer came in pieces");
    assert.deepEqual(await statuses(app.client, page.threadId), ["success"]);

    await page.stream.submit(says("again"));

    const next = await page.settled("the second answer", (shown) => last(shown) === reply("again"));
    assert.deepEqual(next.texts, [HELLO, reply(HELLO), "again", reply("again")]);
    page.close();
  },

  async "reload of a thread with history"(app) {
    const threadId = await twoTurns(app.client);
    let page;
    for (const options of app.loadings) {
      page?.close();
      page = await app.open("echo", { threadId, ...options });

      const screen = await page.settled("the conversation", (shown) => shown.texts.length);

      assert.deepEqual(screen.texts, ["one", "echo: one", "two", "echo: two"]);
      assert.equal(screen.error, undefined);
    }
    assert.deepEqual(await statuses(app.client, threadId), ["success", "success"]);

    await page.stream.submit(says("three"));

    const next = await page.settled("the next turn", (shown) => last(shown) === "echo: three");
    assert.deepEqual(next.texts, ["one", "echo: one", "two", "echo: two", "three", "echo: three"]);
    page.close();
  },

  async "edit and branch from a checkpoint"(app) {
    const threadId = await twoTurns(app.client);
    const page = await app.open("echo", { threadId });
    await page.settled("the conversation", (shown) => shown.texts.length === 4);
    const history = await app.client.threads.getHistory(threadId, { limit: 100 });
    const asked = history.findLast((state) => state.values.messages?.length === 3);

    await page.stream.submit(says("zwei"), app.forkFrom(asked));

    const screen = await page.settled("the edited turn", (shown) => last(shown) === "echo: zwei");
    assert.deepEqual(screen.texts, ["one", "echo: one", "zwei", "echo: zwei"]);

    const grown = await app.client.threads.getHistory(threadId, { limit: 100 });
    const ends = grown
      .filter((state) => state.values.messages?.length === 4)
      .map((state) => state.values.messages[3].content);
    assert.deepEqual(ends, ["echo: zwei", "echo: two"]);
    const [edited] = grown.filter(
      (state) => state.parent_checkpoint?.checkpoint_id === asked.parent_checkpoint.checkpoint_id,
    );
    assert.ok(edited, "the new turn hangs where the old one hung");

    if (app.branches) {
      await page.settled("the way to the old turn", () => app.branches(page, 2).length === 1);
      page.stream.setBranch(app.branches(page, 2)[0]);
      const old = await page.settled("the old turn", (shown) => last(shown) === "echo: two");
      assert.deepEqual(old.texts, ["one", "echo: one", "two", "echo: two"]);
    }
    page.close();
  },

  async "interrupt and resume"(app) {
    const page = await app.open("approval");

    await page.stream.submit({ topic: "lunch" });

    const asked = await page.settled("the question", (shown) => shown.interrupt);
    assert.deepEqual(asked.interrupt, { question: "approve lunch?" });
    assert.equal(asked.error, undefined);

    await app.answer(page, { yes: [1] });

    const screen = await page.settled("the answer", (shown) => shown.values.answer);
    assert.deepEqual(screen.values.answer, { yes: [1] });
    assert.deepEqual(screen.values.log, ["ask", "done"]);
    assert.deepEqual(await statuses(app.client, page.threadId), ["success", "success"]);
    assert.deepEqual((await app.client.threads.getState(page.threadId)).tasks, []);
    page.close();
  },

  async "interrupt, reload and resume"(app) {
    const { thread_id: threadId } = await app.client.threads.create();
    await app.client.runs.wait(threadId, "approval", { input: { topic: "lunch" } });
    const page = await app.open("approval", { threadId });

    const asked = await page.settled("the question", (shown) => shown.interrupt);
    assert.deepEqual(asked.interrupt, { question: "approve lunch?" });

    await app.answer(page, "yes");

    const screen = await page.settled("the answer", (shown) => shown.values.answer);
    assert.deepEqual(screen.values.log, ["ask", "done"]);
    page.close();
  },

  async "reconnect on mount in the middle of a run"(app) {
    const left = await app.open("chat", app.reconnecting);
    left.stream.submit(says(LONG)).catch(() => {}); // it breaks with the page
    await left.until("half an answer", midway(LONG));
    left.leave();

    const page = await app.open("chat", { threadId: left.threadId, ...app.reconnecting });

    await page.until("the rest coming in", midway(LONG));
    const screen = await page.settled("the whole answer", (shown) => last(shown) === reply(LONG));
    assert.deepEqual(screen.texts, [LONG, reply(LONG)]);
    assert.ok(partials(page, LONG).size, "the rest came in pieces");
    assert.deepEqual(await statuses(app.client, page.threadId), ["success"]);
    page.close();
  },

  async stop(app) {
    const page = await app.open("chat");
    const submitted = page.stream.submit(says(ENDLESS));
    await page.until("half an answer", midway(ENDLESS));

    await page.stream.stop();
    await submitted;

    await page.settled("nothing coming in");
    assert.deepEqual(await statuses(app.client, page.threadId), ["interrupted"]);

    await page.stream.submit(says("still there?"));

    const screen = await page.settled("the next answer", (shown) =>
      shown.texts.includes(reply("still there?")),
    );
    assert.ok(!screen.texts.includes(reply(ENDLESS)));
    page.close();
  },

  async "stop a run that outlives its page"(app) {
    const page = await app.open("chat", app.reconnecting);
    const submitted = page.stream.submit(says(ENDLESS));
    await page.until("half an answer", midway(ENDLESS));

    await page.stream.stop();
    await submitted;

    await page.settled("nothing coming in");
    assert.deepEqual(await statuses(app.client, page.threadId), ["interrupted"]);
    page.close();
  },

  async "failing graph"(app) {
    const page = await app.open("failing");

    await page.stream.submit({ x: "paper" });

    const screen = await page.settled("the error", (shown) => shown.error);
    assert.match(String(screen.error), /boom: paper/);
    const kept = await app.client.threads.getState(page.threadId);
    assert.deepEqual([kept.values, kept.next], [{ x: "paper", good: true }, ["boom"]]);
    assert.deepEqual(await statuses(app.client, page.threadId), ["error"]);
    assert.equal((await app.client.threads.get(page.threadId)).status, "error");
    page.close();
  },
};

/** Bind them to a hook. */
export function conversations(app) {
  return Object.fromEntries(Object.entries(CONVERSATIONS).map(([name, hold]) => [name, () => hold(app)]));
}
