// Requests to the lab. An error has the dotted key of the setting that is wrong, if there is one.

export class Refusal extends Error {
  constructor(content) {
    super(content.error);
    this.key = content.key ?? "";
  }
}

export async function get(path) {
  return await (await fetch(path)).json();
}

export async function post(path, body) {
  const reply = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const content = await reply.json();
  if (!reply.ok) throw new Refusal(content);
  return content;
}

// Call `take` with the news of all trainings, again and again; a hidden page gets none, and all when it is seen again
export function follow(take, tell) {
  let source = null, again = 0;
  function open() {
    close();
    if (document.hidden) return;
    source = new EventSource("events");
    let first = true;
    source.onmessage = (event) => {
      tell("");
      take(JSON.parse(event.data), first);
      first = false;
    };
    source.onerror = async () => {
      const refused = source?.readyState === EventSource.CLOSED;
      close();
      tell(refused ? "full" : "lost");
      again = setTimeout(open, 2000);
    };
  }
  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }
  document.addEventListener("visibilitychange", open);
  open();
}
