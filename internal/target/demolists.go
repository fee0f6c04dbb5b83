package target

// What the demo lists, as it goes over the wire.
const (
	demoTools = `{"tools":[
{"name":"whoami","title":"Who am I?","description":"Shows who you are to the servers behind Gatehouse: issuer, subject, client, scopes and claims of your access token. The token itself never gets here.",
 "inputSchema":{"type":"object","properties":{},"additionalProperties":false},
 "outputSchema":{"type":"object","properties":{"signed_in":{"type":"boolean"},"issuer":{"type":"string"},"subject":{"type":"string"},"client_id":{"type":"string"},"authorizer":{"type":"string"},"scopes":{"type":["array","null"],"items":{"type":"string"}},"claims":{"type":["object","null"]},"token_expires":{"type":"string"},"client_info":{"type":"object"},"protocol_revision":{"type":"string"},"token_seen_by_this_server":{"type":"boolean"}},"required":["signed_in"]},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"echo","title":"Echo","description":"Returns the text that it was given.",
 "inputSchema":{"type":"object","properties":{"text":{"type":"string","description":"The text to return"}},"required":["text"],"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"add","title":"Add","description":"Adds two numbers.",
 "inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"],"additionalProperties":false},
 "outputSchema":{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"time","title":"Current time","description":"Tells the current time in a time zone.",
 "inputSchema":{"type":"object","properties":{"zone":{"type":"string","description":"IANA name such as Europe/Berlin; UTC when absent"}},"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"long_task","title":"Long task","description":"Takes its time step by step, reports progress, and can be cancelled.",
 "inputSchema":{"type":"object","properties":{"steps":{"type":"integer","minimum":1,"maximum":100,"default":5},"step_ms":{"type":"integer","minimum":1,"maximum":10000,"default":500}},"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}}
]}`

	demoPrompts = `{"prompts":[{"name":"introduce","title":"Introduce me","description":"Asks the assistant to look up who is signed in and to introduce that person.","arguments":[{"name":"tone","description":"How it should sound, such as friendly or formal","required":false}]}]}`

	demoResources = `{"resources":[
{"uri":"gatehouse://about","name":"about","title":"About this gateway","description":"What Gatehouse is and what just happened.","mimeType":"text/markdown"},
{"uri":"gatehouse://pixel","name":"pixel","title":"A pixel","description":"The smallest picture, to see that binary content arrives.","mimeType":"image/gif"}
]}`

	demoTimePrefix   = "gatehouse://time/"
	demoTimeTemplate = demoTimePrefix + "{zone}"

	demoTemplates = `{"resourceTemplates":[{"uriTemplate":"` + demoTimeTemplate + `","name":"time","title":"Current time in a zone","description":"The zone is an IANA name with its slash written as %2F, such as Europe%2FBerlin.","mimeType":"text/plain"}]}`

	demoAbout = `# Gatehouse

You reached this text through Gatehouse, which stands between your assistant and the MCP servers behind it.

- You signed in through your browser; your assistant holds an access token for Gatehouse and for nothing else.
- That token stopped at the gate. This server was asked by Gatehouse, on your behalf.
- Call the tool **whoami** to see what a server behind Gatehouse can know about you.

To put your own servers here, write a configuration file with targets and start Gatehouse with it.
`
)

// demoPixel is a transparent GIF of one pixel.
func demoPixel() []byte {
	return []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")
}
