package main

import (
	gocontext "context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type context = gocontext.Context

type result = mcp.CallToolResult

// tool adds a tool; a schema that is empty stands for one without arguments.
func tool(s *mcp.Server, name, description, schema string, f func(context, *mcp.CallToolRequest) (*result, error)) {
	if schema == "" {
		schema = `{"type":"object"}`
	}
	s.AddTool(&mcp.Tool{Name: name, Description: description, InputSchema: json.RawMessage(schema)}, f)
}

// fixed is a tool that always gives the same content.
func fixed(content ...mcp.Content) func(context, *mcp.CallToolRequest) (*result, error) {
	return func(context, *mcp.CallToolRequest) (*result, error) { return &result{Content: content}, nil }
}

func text(s string) *mcp.TextContent { return &mcp.TextContent{Text: s} }

func said(s string) *result { return &result{Content: []mcp.Content{text(s)}} }

func resourceContent(uri, mime, s string) *mcp.EmbeddedResource {
	return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: uri, MIMEType: mime, Text: s}}
}

// onePixel is a PNG of one red pixel.
func onePixel() []byte {
	raw, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
	if err != nil {
		panic(err)
	}
	return raw
}

// silence is a WAV file with a hundredth of a second of nothing.
func silence() []byte {
	const rate, samples = 8000, 80
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt "...)
	for _, v := range []uint32{16, 1 | 1<<16, rate, rate, 1 | 8<<16} { // PCM, mono, bytes a second, 8 bits
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), samples)
	for range samples {
		b = append(b, 0x80)
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

// addContent adds the tools that show one kind of content each.
func addContent(s *mcp.Server) {
	image := &mcp.ImageContent{Data: onePixel(), MIMEType: "image/png"}
	tool(s, "test_simple_text", "Gives one line of text.", "", fixed(text("This is a simple text response for testing.")))
	tool(s, "test_image_content", "Gives an image.", "", fixed(image))
	tool(s, "test_audio_content", "Gives a sound.", "", fixed(&mcp.AudioContent{Data: silence(), MIMEType: "audio/wav"}))
	tool(s, "test_embedded_resource", "Gives a resource within the result.", "",
		fixed(resourceContent("test://embedded-resource", "text/plain", "This is an embedded resource content.")))
	tool(s, "test_multiple_content_types", "Gives three kinds of content at once.", "", fixed(
		text("Multiple content types test:"), image,
		resourceContent("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`)))
	tool(s, "json_schema_2020_12_tool", "Has an input schema with the words of JSON Schema 2020-12.", schema2020, fixed(text("seen")))
	tool(s, "test_x_mcp_header", "Has an argument that is copied into a header.",
		`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"level":{"type":"integer"}}}`, fixed(text("agreed")))
}

// schema2020 must come through tools/list as it stands here.
const schema2020 = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"$defs": {"address": {
		"$anchor": "addressDef", "type": "object",
		"properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
	"properties": {
		"name": {"type": "string"},
		"address": {"$ref": "#/$defs/address"},
		"contactMethod": {"type": "string", "enum": ["phone", "email"]},
		"phone": {"type": "string"},
		"email": {"type": "string"}},
	"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
	"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
	"then": {"required": ["phone"]},
	"else": {"required": ["email"]},
	"additionalProperties": false
}`
