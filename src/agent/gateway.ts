// The gateway's tools for pi (gateway-api.md 1.7, pi-rpc.md 12). pi-gw writes this file when it starts a pi and passes it with
// --extension; changes made here are overwritten. It imports nothing: it loads in every pi since 0.73.
export default async function (pi: any) {
  const base = process.env.PI_GATEWAY_URL;
  const token = process.env.PI_GATEWAY_INTERNAL_TOKEN;
  if (!base || !token) return; // started by hand: there is nobody to ask

  const call = async (method: string, path: string, body?: any, signal?: AbortSignal): Promise<any> => {
    const response = await fetch(base + path, {
      method,
      signal,
      headers: { authorization: "Bearer " + token, ...(body ? { "content-type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
    });
    const text = await response.text();
    let data: any;
    try {
      data = JSON.parse(text);
    } catch {
      data = { error: text };
    }
    // Thrown, so that the model sees an error and not a result that speaks of one.
    if (!response.ok) throw new Error(data.error?.message ?? data.error ?? "HTTP " + response.status);
    return data;
  };

  let setup: any;
  try {
    setup = await call("GET", "/api/agent/setup", undefined, AbortSignal.timeout(10_000));
  } catch (e: any) {
    console.error("pi-gateway: no tools, the gateway does not answer: " + (e?.message ?? e));
    return;
  }

  const ids = (r: any) => r.messageIds?.join(", ") ?? r.messageId;
  const sent = (what: string, r: any) => {
    if (r.queued) return what + " is on its way: it goes out as soon as the platform takes it. Do not send it again.";
    return what + " was sent" + (ids(r) ? " (message id " + ids(r) + ")." : ".");
  };
  const enc = encodeURIComponent;

  const cron = async (p: any, signal?: AbortSignal): Promise<string> => {
    const jobs = "/api/cron/jobs";
    const id = () => {
      if (!p.id) throw new Error("id is required for " + p.action);
      return jobs + "/" + enc(p.id);
    };
    switch (p.action) {
      case "list": {
        const list = (await call("GET", jobs, undefined, signal)).jobs ?? [];
        return list.length ? JSON.stringify(list, null, 1) : "There are no jobs.";
      }
      case "add": {
        const job = {
          id: p.id,
          schedule: p.schedule,
          task: p.task,
          mode: p.mode ?? "isolated",
          delivery: p.delivery ?? "announce",
          deleteAfterRun: p.deleteAfterRun ?? false,
        };
        return "Added: " + JSON.stringify((await call("POST", jobs, job, signal)).job ?? job);
      }
      case "remove":
        await call("DELETE", id(), undefined, signal);
        return "Removed " + p.id + ".";
      case "pause":
      case "resume":
        await call("PATCH", id(), { action: p.action }, signal);
        return (p.action === "pause" ? "Paused " : "Resumed ") + p.id + ".";
      case "update": {
        const { schedule, task, mode, delivery, deleteAfterRun } = p;
        const fields = { action: "update", schedule, task, mode, delivery, deleteAfterRun };
        return "Updated: " + JSON.stringify((await call("PATCH", id(), fields, signal)).job ?? {});
      }
      case "run":
        await call("POST", id() + "/run", {}, signal);
        return "Started " + p.id + ".";
      case "runs": {
        const limit = Math.min(Math.max(p.limit ?? 20, 1), 100);
        const runs = (await call("GET", id() + "/runs?limit=" + limit, undefined, signal)).runs ?? [];
        return runs.length ? JSON.stringify(runs, null, 1) : "No runs yet.";
      }
      case "status":
        return JSON.stringify(await call("GET", "/api/cron/status", undefined, signal));
      case "wake": {
        const text = p.task ?? p.text;
        if (!text) throw new Error("task is required for wake: the text of the event");
        const r = await call("POST", "/api/wake", { text, mode: p.wakeMode ?? "now" }, signal);
        return "Noted (" + r.mode + ").";
      }
      default:
        throw new Error("unknown action " + p.action);
    }
  };

  const act = async (p: any, signal?: AbortSignal): Promise<string> => {
    const r = await call("POST", "/api/message/action", { ...p, hooked: true }, signal);
    if (p.action !== "read") return "Done.";
    const line = (m: any) => "[" + m.id + "] " + m.sender + ": " + m.text;
    return r.messages?.length ? r.messages.map(line).join("\n") : "No messages.";
  };

  const ask = async (p: any, signal?: AbortSignal): Promise<string> => {
    const { title, options, columns, timeout } = p;
    const body = { title, options, columns, timeout: timeout ? timeout * 1000 : undefined, hooked: true };
    const r = await call("POST", "/api/keyboard", body, signal);
    if (r.selected) return "Selected: " + r.selected.text + " (id " + r.selected.id + ").";
    return r.error === "timeout" ? "Nobody pressed a button in time." : "The question was withdrawn (" + r.error + ").";
  };

  const media = async (p: any, key: string, signal?: AbortSignal): Promise<string> => {
    const body = { path: p.path, caption: p.caption, type: p.type, idempotencyKey: key, hooked: true };
    const r = await call("POST", "/api/media/send", body, signal);
    if (r.delivered !== false) return sent(r.path + " (" + r.type + ")", r);
    const lines = [p.caption, r.directive].filter(Boolean).join("\n");
    return "This channel takes no files from tools. Put these lines into your answer as they are:\n" + lines;
  };

  const gateway = async (p: any, signal?: AbortSignal): Promise<string> => {
    if (p.action === "config.get") return JSON.stringify(await call("GET", "/api/gateway/config", undefined, signal), null, 1);
    if (p.action !== "reload" && p.action !== "restart") throw new Error("unknown action " + p.action);
    return (await call("POST", "/api/gateway/" + p.action, {}, signal)).message ?? "Done.";
  };

  const own: Record<string, (p: any, key: string, signal?: AbortSignal) => Promise<string>> = {
    send_message: async (p, key, signal) => {
      const body = { text: p.text, replyTo: p.replyTo, parseMode: p.parseMode, idempotencyKey: key, hooked: true };
      return sent("The message", await call("POST", "/api/message/send", body, signal));
    },
    send_media: media,
    message: (p, _key, signal) => act(p, signal),
    keyboard_select: (p, _key, signal) => ask(p, signal),
    cron: (p, _key, signal) => cron(p, signal),
    session_status: async (_p, _key, signal) => JSON.stringify(await call("GET", "/api/session/status", undefined, signal)),
    gateway: (p, _key, signal) => gateway(p, signal),
  };

  const register = (tool: any) =>
    pi.registerTool({
      name: tool.name,
      label: tool.label ?? tool.name,
      description: tool.description,
      parameters: tool.parameters,
      async execute(key: string, params: any, signal?: AbortSignal) {
        if (own[tool.name]) {
          return { content: [{ type: "text", text: await own[tool.name](params ?? {}, key, signal) }], details: {} };
        }
        const body = { toolName: tool.name, params, toolCallId: key, hooked: true };
        const { result } = await call("POST", "/api/tools/call", body, signal);
        if (result?.isError) throw new Error(result.content?.map((c: any) => c.text).join("\n") ?? "the tool failed");
        if (Array.isArray(result?.content)) return { content: result.content, details: result.details ?? {} };
        const text = typeof result === "string" ? result : JSON.stringify(result);
        return { content: [{ type: "text", text }], details: {} };
      },
    });

  // When all extensions are loaded: two with a tool of the same name would keep pi from starting. An extension of the user,
  // such as the original gateway's own, goes first.
  pi.on("session_start", () => {
    const there = new Set(pi.getAllTools().map((tool: any) => tool.name));
    for (const tool of setup.tools ?? []) if (!there.has(tool.name)) register(tool);
  });

  // Only what a plugin listens to: nothing costs nothing. A hook that fails or is late lets pi go on.
  const hook = async (name: string, payload: any): Promise<any> => {
    try {
      const limit = AbortSignal.timeout(setup.hookTimeoutMs ?? 5000);
      return await call("POST", "/api/agent/hook", { hook: name, ...payload }, limit);
    } catch {
      return {};
    }
  };
  const used = new Set<string>(setup.hooks ?? []);
  if (used.has("before_tool_call")) {
    pi.on("tool_call", async (e: any) => {
      const r = await hook("before_tool_call", { toolName: e.toolName, toolCallId: e.toolCallId, args: e.input });
      if (r.block) return { block: true, reason: r.reason };
      if (!r.args) return;
      for (const name of Object.keys(e.input)) delete e.input[name];
      Object.assign(e.input, r.args);
    });
  }
  if (used.has("after_tool_call")) {
    pi.on("tool_result", async (e: any) => {
      await hook("after_tool_call", { toolName: e.toolName, result: e.content, isError: e.isError });
    });
  }
  if (used.has("tool_result_persist")) {
    pi.on("message_end", async (e: any) => {
      if (e.message?.role !== "toolResult") return;
      const r = await hook("tool_result_persist", { toolName: e.message.toolName, result: e.message.content });
      if (r.result) return { message: { ...e.message, content: r.result } };
    });
  }
  if (used.has("before_compaction")) {
    pi.on("session_before_compact", async (e: any) => {
      const r = await hook("before_compaction", { instructions: e.customInstructions });
      if (r.cancel) return { cancel: true };
    });
  }
  if (used.has("before_agent_start")) {
    pi.on("before_agent_start", async (e: any) => {
      const r = await hook("before_agent_start", {});
      if (r.systemPromptAppend) return { systemPrompt: e.systemPrompt + "\n\n" + r.systemPromptAppend };
    });
  }
}
