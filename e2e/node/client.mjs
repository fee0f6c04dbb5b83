// Plays a plan of calls with the official TypeScript client and prints what came of each, as one JSON array.
//
//   MCP_TOKEN=… node client.mjs SDK TRANSPORT ERA URL < plan.json
//
// SDK is 1 or 2 (the packages @modelcontextprotocol/sdk and @modelcontextprotocol/client), TRANSPORT http or sse, ERA legacy
// or modern (SDK 2 only). A step of the plan is {"op": …, …params}; a step that fails yields {"error": …}.
import { readFileSync } from 'node:fs';

const [sdk, transportKind, era, url] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(0, 'utf8'));
const headers = { Authorization: `Bearer ${process.env.MCP_TOKEN}` };

async function connect() {
  const info = { name: `ts-${sdk}`, version: '1' };
  const capabilities = { elicitation: {}, sampling: {} };
  if (sdk === '1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const http = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const sse = await import('@modelcontextprotocol/sdk/client/sse.js');
    const client = new Client(info, { capabilities });
    client.setRequestHandler(types.ElicitRequestSchema, async () => elicited);
    client.setRequestHandler(types.CreateMessageRequestSchema, async () => sampled);
    await client.connect(transport(http.StreamableHTTPClientTransport, sse.SSEClientTransport));
    return client;
  }
  const { Client, StreamableHTTPClientTransport, SSEClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client(info, { capabilities, versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } });
  client.setRequestHandler('elicitation/create', async () => elicited);
  client.setRequestHandler('sampling/createMessage', async () => sampled);
  await client.connect(transport(StreamableHTTPClientTransport, SSEClientTransport));
  return client;
}

const elicited = { action: 'accept', content: { name: 'Ada', username: 'Ada', email: 'ada@example.com', interpretation: 'historical' } };
const sampled = { model: 'm', role: 'assistant', content: { type: 'text', text: 'sampled text' } };

function transport(HTTP, SSE) {
  return new (transportKind === 'sse' ? SSE : HTTP)(new URL(url), { requestInit: { headers } });
}

async function all(list, member) {
  const items = [];
  let cursor;
  do {
    const page = await list(cursor === undefined ? {} : { cursor });
    items.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { [member]: items };
}

const client = await connect();
let progress = 0;
const play = {
  tools: () => all((p) => client.listTools(p), 'tools'),
  prompts: () => all((p) => client.listPrompts(p), 'prompts'),
  resources: () => all((p) => client.listResources(p), 'resources'),
  templates: () => all((p) => client.listResourceTemplates(p), 'resourceTemplates'),
  call: ({ name, arguments: args }) => {
    const options = { onprogress: () => progress++ };
    return sdk === '1' ? client.callTool({ name, arguments: args }, undefined, options) : client.callTool({ name, arguments: args }, options);
  },
  read: ({ uri }) => client.readResource({ uri }),
  prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: args }),
  complete: ({ ref, argument }) => client.complete({ ref, argument }),
  ping: () => client.ping(),
  // A call as a task of 2025-11-25, which only SDK 1 has: all that the client hears of it, and the list of its tasks.
  task: async ({ name, arguments: args }) => {
    const heard = [];
    for await (const message of client.experimental.tasks.callToolStream({ name, arguments: args }, undefined, { task: { ttl: 60_000 } })) {
      heard.push(message);
      if (message.type === 'error') throw message.error;
    }
    return { heard, tasks: await client.experimental.tasks.listTasks() };
  },
};
const results = [];
for (const { op, ...params } of steps) {
  try {
    results.push(await play[op](params));
  } catch (e) {
    results.push({ error: String(e?.message ?? e), code: e?.code });
  }
}
results.push({ progress, server: client.getServerVersion(), version: client.getNegotiatedProtocolVersion?.() });
await client.close();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
