// tally-client 0.1.0, MIT. Options: tally.d.ts. What holds, and why it holds: README.md.
const LOOK = 1e4; // between looks for batches that nobody else will send, and the least age of those
const LEASE = 45e3; // longer than a request
const HOUR = 36e5;
const encoder = new TextEncoder();
const isNode = !globalThis.document && !!globalThis.process?.versions?.node;
const sizeOf = (/** @type {string} */ text) => encoder.encode(text).length;
const random = () => Math.random().toString(36).slice(2);
let last = 0; // so that the batches of one tab are in order
const newKey = () => `${(last = Math.max(last + 1, Date.now()))}-${random()}${random()}`;
const linesOf = (text = "") =>
  text.split("\n").filter((line) => {
    try {
      return JSON.parse(line);
    } catch {} // its end, or what a full disk cut off
  });
const bodyOf = (text) => `[${linesOf(text)}]`;

// A store keeps batches: lines by Idempotency-Key, with ~ as long as events are added.
// move: rename, or add to a batch; nothing happens if another tab or process has renamed it.
const mapStore = (map) => ({
  keys: () => [...map.keys()],
  get: (name) => map.get(name),
  put: (name, text) => map.set(name, text),
  delete: (name) => map.delete(name),
  move(from, to, more = "") {
    const text = map.get(from);
    return text && (from == to || map.delete(from), map.set(to, text + more)); // a full one throws, and keeps the text
  },
});

const localStore = (prefix, storage = localStorage) =>
  mapStore({
    keys: () => Object.keys(storage).flatMap((name) => (name.startsWith(prefix) ? name.slice(prefix.length) : [])),
    get: (name) => storage[prefix + name],
    set: (name, text) => (storage[prefix + name] = text),
    delete: (name) => delete storage[prefix + name],
  });

const databaseStore = async (name) => {
  const db = await new Promise((done, fail) => {
    const opening = indexedDB.open(name);
    opening.onupgradeneeded = () => opening.result.createObjectStore("batch").put("-", "gate.0.0.");
    opening.onsuccess = () => done(opening.result);
    opening.onerror = fail;
  });
  const run = (work) =>
    new Promise((done, fail) => {
      const transaction = db.transaction("batch", "readwrite");
      const request = work(transaction.objectStore("batch"));
      transaction.oncomplete = () => done(request.result);
      transaction.onabort = () => fail(transaction.error);
    });
  return {
    keys: () => run((batch) => batch.getAllKeys()),
    get: (name) => run((batch) => batch.get(name)),
    put: (name, text) => run((batch) => batch.put(text, name)),
    delete: (name) => run((batch) => batch.delete(name)),
    move: (from, to, more = "") =>
      run((batch) => {
        const request = batch.get(from);
        request.onsuccess = () => request.result && (batch.delete(from), batch.put(request.result + more, to));
        return request;
      }),
  };
};

const fileStore = (fs, folder) => {
  const path = (name) => `${folder}/${name}`;
  const attempt = (work, missing = "ENOENT") => {
    try {
      return work() ?? true;
    } catch (error) {
      if (error.code != missing) throw error;
    }
  };
  const flag = fs.constants.O_WRONLY | fs.constants.O_APPEND;
  const move = (from, to, more) =>
    attempt(() => (more ? fs.appendFileSync(path(from), more, { flag }) : fs.renameSync(path(from), path(to))));
  const remove = (name) => fs.rmSync(path(name), { force: true });
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
    id: process.pid,
    isAlive: (id) => id != process.pid && !!attempt(() => process.kill(id, 0), "ESRCH"),
    keys: () =>
      fs.readdirSync(folder).filter((name) => name.at(-1) != "~" || attempt(() => Date.now() - fs.statSync(path(name)).mtimeMs > LOOK)),
    get: (name) => attempt(() => fs.readFileSync(path(name), "utf8")),
    put(name, text) {
      const part = "new" + name;
      try {
        fs.writeFileSync(path(part), text);
      } catch (error) {
        remove(part); // what a full disk took of it
        throw error;
      }
      return move(part, name);
    },
    delete: remove,
    move,
  };
};

/** Records events, and sends them in batches. */
export class Tally {
  stats = { recorded: 0, sent: 0, rejected: 0, dropped: 0, failures: 0, lastError: "", skew: 0 };
  #options;
  #opening;
  #store;
  #lock;
  #pending = [];
  #open;
  #isSaving = false;
  #isLeaving = false;
  #saved;
  #sending = Promise.resolve(true);
  #timer;
  #wakeAt = Infinity;
  #ended = new AbortController();

  /** @param {import("./tally.d.ts").Options} options */
  constructor(options) {
    const url = new URL(options.url).href.replace(/\/+$/, "");
    const { spool } = (this.#options = {
      spool: !isNode && "tally " + url,
      batchBytes: isNode ? 1e6 : 48e3,
      batchSeconds: 1,
      maxBytes: isNode ? 256e6 : 8e6,
      onError: (message, events) => console.warn("tally: " + message, events),
      ...options,
      url: url + "/events",
    });
    const { signal } = this.#ended;
    const flush = () => signal.aborted || this.flush();
    const memory = () => ((this.#lock = 0), mapStore(new Map()));
    if (!isNode) {
      this.#lock = globalThis.navigator?.locks;
      this.#opening = databaseStore(spool).catch(() => localStore(spool + " ")).catch(memory);
      const on = (type, work) => globalThis.addEventListener?.(type, work, { signal });
      on("pagehide", () => {
        this.#isLeaving = true;
        this.#leave();
      });
      on("pageshow", () => (this.#isLeaving = false));
      on("visibilitychange", flush);
      on("online", flush);
    } else {
      const fs = process.getBuiltinModule?.("fs");
      const open = (fs) => fileStore(fs, spool);
      if (!spool) this.#store = memory();
      else if (fs) this.#store = open(fs);
      else this.#opening = import(/* webpackIgnore: true */ /* @vite-ignore */ "node:" + "fs").then(open);
      process.once("beforeExit", flush);
    }
    this.#wake(0);
  }

  /** @type {import("./tally.d.ts").Tally["record"]} */
  record(customer, product, type, ...context) {
    const { timestamp, ...event } = customer?.type ? customer : { customer, product, type, context };
    const { customer: c, product: p, version } = this.#options;
    this.stats.recorded++;
    try {
      if (this.#ended.signal.aborted) this.#lose("dropped", [event], "closed");
      else
        this.#pending.push(
          JSON.stringify(
            { customer: c, product: p, version, context: [], timestamp: +(timestamp ?? Date.now()), ...event },
            (_, value) => (value?.replace ? value.replace(/[\p{Cs}\0]/gu, "\ufffd") : value),
          ) + "\n",
        );
    } catch (error) {
      this.#lose("rejected", [event], error);
    }
    if (this.#isLeaving) this.#leave();
    else if (!this.#isSaving) this.#saved = this.#save();
    return this.#saved;
  }

  /** Send now. Return whether everything was stored or rejected. */
  async flush() {
    await this.#saved;
    return this.#send(true);
  }

  /** Send now, and end. */
  close() {
    this.#ended.abort();
    return this.flush();
  }

  // Without a pause if the store needs none, as files do: an event is stored when `record` returns.
  async #save() {
    const { batchBytes, batchSeconds } = this.#options;
    const pending = this.#pending;
    this.#isSaving = true;
    this.#store ??= await this.#opening;
    while (pending[0]) {
      const open = (this.#open ??= { name: newKey(), text: "", bytes: 0 });
      let more = "";
      for (let size; pending[0]; more += pending.shift()) {
        size = sizeOf(pending[0]);
        if (open.bytes && open.bytes + size > batchBytes) break;
        open.bytes += size;
      }
      const name = open.name + "~";
      try {
        let done = !more ? this.#seal() : open.text ? this.#store.move(name, name, more) : this.#store.put(name, more);
        open.text += more;
        if (done?.then) done = await done;
        if (done) continue;
      } catch (error) {
        try {
          await this.#seal(); // so that a flush sends what it has
        } catch {}
        if (!/quota|nospc/i.test(error)) this.#store = mapStore(new Map());
        else if (!(await this.#drop(error))) {
          this.#lose("dropped", more, error);
          more = "";
        }
      }
      if (more) pending.unshift(more);
      this.#open = null;
    }
    this.#isSaving = false;
    this.#wake(batchSeconds * 1000);
  }

  #seal() {
    const name = this.#open?.name;
    this.#open = null;
    return name && this.#store.move(name + "~", name);
  }

  #wake(ms) {
    const at = Date.now() + ms;
    if (at >= this.#wakeAt || this.#ended.signal.aborted) return;
    this.#wakeAt = at;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#wakeAt = Infinity;
      this.#send();
    }, ms);
    this.#timer.unref?.();
  }

  // One after another in this tab, and one tab at a time.
  #send(now = false) {
    const drain = () => this.#drain(now);
    return (this.#sending = this.#sending
      .then(() => (this.#lock ? this.#lock.request(this.#options.spool, drain) : drain()))
      .catch((error) => this.#fail(error))
      .then((done) => (this.#wake(LOOK), done)));
  }

  async #drain(now) {
    const store = (this.#store ??= await this.#opening);
    const { batchBytes, maxBytes } = this.#options;
    for (;;) {
      const names = (await store.keys()).sort();
      const batches = names.filter((name) => name < "a");
      if (batches[1] && batches.length * batchBytes > maxBytes) {
        await this.#drop("too many wait");
        continue;
      }
      // The name of the gate: nobody sends until when, after how many failures, why. Who renames it may send.
      let gate = names.filter((name) => name[0] == "g").pop();
      if (!gate) await store.put((gate = "gate.0.0."), "-");
      const [, until, failures, why] = gate.split(".");
      const wait = +until - Date.now();
      if (wait > 0 && wait < 2 * HOUR && (why > 0 ? !this.#lock && (store.isAlive?.(why) ?? true) : why || !now)) {
        this.#wake(wait);
        return false;
      }
      const key = batches.find((name) => name.at(-1) != "~");
      if (!key) {
        const old = batches.filter((name) => Math.abs(Date.now() - parseInt(name)) > LOOK);
        for (const name of old) await store.move(name, name.slice(0, -1));
        if (!(await this.#seal()) && !old[0]) return true;
        continue;
      }
      const lease = `gate.${Date.now() + LEASE}.${failures}.${store.id ?? 1}`;
      if (await store.move(gate, lease)) {
        const [pause, why] = (await this.#deliver(key, +failures)) ?? [];
        await store.move(lease, pause ? `gate.${Date.now() + pause}.${+failures + 1}.${why}` : "gate.0.0.");
        if (pause) {
          this.#wake(pause);
          return false;
        }
      }
    }
  }

  #post(key, text) {
    const { url, key: secret } = this.#options;
    const body = bodyOf(text);
    return fetch(url, {
      method: "POST",
      body,
      headers: {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        Prefer: "handling=lenient",
        ...(secret && { Authorization: "Bearer " + secret }),
      },
      credentials: "omit",
      keepalive: !isNode && sizeOf(body) < 6e4, // the limit is 64 KiB
      signal: AbortSignal.timeout?.(3e4),
    });
  }

  // Return nothing, or how long to pause, and whether a flush has to wait, too.
  async #deliver(key, failures) {
    const { stats } = this;
    const store = this.#store;
    const text = await store.get(key);
    if (!text) return; // another tab has just sent it
    const lines = linesOf(text);
    const began = Date.now();
    let status, headers, answer, message;
    try {
      ({ status, headers } = answer = await this.#post(key, text));
      answer = await answer.json();
      message = answer[0]?.value.message ?? answer.message;
    } catch (error) {
      message = error;
    }
    const date = Date.parse(headers?.get("Date"));
    if (date) stats.skew = Math.round(date + 500 - (began + Date.now()) / 2);
    const parts = {};
    const isOurs = Array.isArray(answer);
    if (isOurs && (status == 200 || status == 422)) {
      const stored = new Set(answer.map((event) => event.sequence));
      const refused = lines.filter((_, place) => headers.get("X-Rejected-Events") > 0 && !stored.has(place + 1));
      stats.sent += lines.length - refused.length;
      if (refused[0]) this.#lose("rejected", refused.join("\n"), "invalid");
    } else if (status == 413 || (isOurs && [400, 403, 415].includes(status))) {
      lines.forEach((line, place) => {
        const { customer, product } = JSON.parse(line);
        const part = status == 403 ? [customer, product] : status != 415 && place * 2 < lines.length;
        parts[part] = (parts[part] ?? "") + line + "\n";
      });
      const divided = Object.values(parts);
      for (const place in divided)
        if (divided[1]) await store.put(`${key}.${place}`, divided[place]);
        else this.#lose("rejected", text, message);
    } else {
      this.#fail(`${status} ${message}`);
      const asked = headers?.get("Retry-After");
      const wait = Math.min(HOUR, asked * 1000 || Date.parse(asked) - Date.now() || 0);
      return [Math.ceil(1 + wait + Math.random() * Math.min(6e4, 500 * 2 ** failures)), wait > 0 ? "asked" : ""];
    }
    stats.failures = 0;
    await store.delete(key);
  }

  // The page may end before a database answers, so this waits for nothing.
  #leave() {
    const { url, key } = this.#options;
    const text = this.#pending.splice(0).join("");
    const open = this.#open;
    // If a batch that is being written may have been sealed by another tab, the database has to decide.
    if (open?.text && !(this.#isSaving && Date.now() - parseInt(open.name) > LOOK / 2)) {
      this.#seal();
      this.#post(open.name, open.text).catch(() => {});
    }
    // A beacon has no Idempotency-Key, so it carries only what no store has.
    const beacon = () => navigator.sendBeacon(key ? `${url}?key=${encodeURIComponent(key)}` : url, bodyOf(text));
    if (!text || (!("keepalive" in Request.prototype) && beacon())) return;
    const name = newKey();
    this.#store?.put(name, text);
    this.#post(name, text).catch(() => {});
  }

  async #drop(reason) {
    const name = (await this.#store.keys()).sort().find((name) => name < "a");
    if (name) {
      this.#lose("dropped", await this.#store.get(name), reason);
      await this.#store.delete(name);
    }
    return name;
  }

  #lose(what, text, reason) {
    const events = text.map ? text : linesOf(text).map((line) => JSON.parse(line));
    this.stats[what] += events.length;
    this.#tell(`${events.length} events ${what}: ${reason}`, events);
  }

  #fail(message) {
    const { stats } = this;
    if (!stats.failures++ || message != stats.lastError) this.#tell("sending fails: " + message, []);
    stats.lastError = message;
    return false;
  }

  #tell(message, events) {
    try {
      this.#options.onError(message, events);
    } catch (error) {
      console.error(error);
    }
  }
}
