// The server's routes. Addresses are relative, so that the page also works behind a path prefix.

/** Why a request failed, in words for people. */
export class Problem extends Error {
  /**
   * @param {"key"|"busy"|"gone"|"refused"} kind
   * @param {string} title what happened
   * @param {string} detail what the server said
   * @param {number} wait seconds after which a retry makes sense
   */
  constructor(kind, title, detail, wait = 0) {
    super(detail);
    Object.assign(this, { kind, title, detail, wait });
  }
}

/** Headers that carry the key, if there is one. */
const authorization = (key) => (key ? { authorization: `Bearer ${key}` } : {});

/**
 * Streams the answer to a conversation.
 * @returns {AsyncGenerator<object>} the chunks of /v1/chat/completions
 * @throws {Problem} when the server refuses, fails or is gone; AbortError after `signal`
 */
export async function* chat(body, key, signal) {
  const response = await reach("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) throw await problemOf(response, key);
  let complete = false;
  for await (const data of events(response.body, signal)) {
    if (data === "[DONE]") {
      complete = true;
      continue;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Problem("refused", "The server stopped this answer", messageOf(chunk));
    yield chunk;
  }
  if (!complete) throw gone("The connection closed before the answer was complete.");
}

/**
 * Reads a page of the server.
 * @throws {Problem} when it is gone or refuses
 */
export async function read(path, key) {
  const signal = AbortSignal.timeout(5000);
  const response = await reach(path, { headers: authorization(key), signal, cache: "no-store" });
  if (!response.ok) throw await problemOf(response, key);
  return response;
}

async function reach(path, options) {
  try {
    return await fetch(path, { ...options, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw gone("Nothing answers at this address. Is it still running?");
  }
}

const gone = (detail) => new Problem("gone", "The server is gone", detail);

/** What the server said, as a sentence of a page; a name of a field at its start stays as it is. */
const messageOf = (body) => String(body?.error?.message ?? body?.error ?? "It did not say why.")
  .replace(/^[a-z]+(?=\s)/, (word) => word[0].toUpperCase() + word.slice(1));

async function problemOf(response, key) {
  const body = await response.json().catch(() => null);
  const detail = messageOf(body);
  const wait = Number(response.headers.get("retry-after")) || 0;
  if (response.status === 401) {
    const title = key ? "The server does not know this API key" : "The server asks for an API key";
    return new Problem("key", title, "Enter a key in the settings, then try again.");
  }
  if (response.status === 429 || response.status === 503) {
    const title = response.status === 429 ? "The server is full" : "The server is not ready";
    return new Problem("busy", title, detail, Math.max(wait, 1));
  }
  return new Problem("refused", `The server refused (${response.status})`, detail);
}

/** Data of the server-sent events of a body. */
async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      // The server writes one line of data an event; comments and ids are of no use here.
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } catch (error) {
    if (signal.aborted || error instanceof Problem) throw error;
    throw gone("The connection broke in the middle of the answer.");
  } finally {
    // Closes the connection when the caller leaves early, which cancels the request.
    await reader.cancel().catch(() => {});
  }
}
