package main

import (
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func form(message, properties, required string) *mcp.ElicitParams {
	return &mcp.ElicitParams{Mode: "form", Message: message,
		RequestedSchema: json.RawMessage(`{"type":"object","properties":` + properties + `,"required":` + required + `}`)}
}

func sample(prompt string, tokens int64) *mcp.CreateMessageParams {
	return &mcp.CreateMessageParams{MaxTokens: tokens, Messages: []*mcp.SamplingMessage{{Role: "user", Content: text(prompt)}}}
}

// addQuestions adds the tools of the session era that ask one question.
func addQuestions(s *mcp.Server) {
	tool(s, "test_sampling", "Has the client's model answer a prompt.",
		`{"type":"object","properties":{"prompt":{"type":"string"}},"required":["prompt"]}`,
		one(func(arg string) mcp.InputRequest { return sample(arg, 100) }, func(a mcp.InputResponse) string {
			return "LLM response: " + sampled(a)
		}))
	tool(s, "test_elicitation", "Asks the person for name and address.",
		`{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}`,
		one(func(arg string) mcp.InputRequest {
			return form(arg, `{"username":{"type":"string","description":"User's response"},"email":{"type":"string","description":"User's email address"}}`, `["username","email"]`)
		}, func(a mcp.InputResponse) string { return "User response: " + outcome(a) }))
	completed := func(a mcp.InputResponse) string { return "Elicitation completed: " + outcome(a) }
	tool(s, "test_elicitation_sep1034_defaults", "Asks with a default for each type.", "", one(func(string) mcp.InputRequest {
		return form("Check what is filled in.", `{
			"name":{"type":"string","default":"John Doe"},
			"age":{"type":"integer","default":30},
			"score":{"type":"number","default":95.5},
			"status":{"type":"string","enum":["active","inactive","pending"],"default":"active"},
			"verified":{"type":"boolean","default":true}}`, `[]`)
	}, completed))
	tool(s, "test_elicitation_sep1330_enums", "Asks with every form of an enumeration.", "", one(func(string) mcp.InputRequest {
		return form("Choose.", `{
			"untitledSingle":{"type":"string","enum":["option1","option2","option3"]},
			"titledSingle":{"type":"string","oneOf":[{"const":"value1","title":"First Option"},{"const":"value2","title":"Second Option"},{"const":"value3","title":"Third Option"}]},
			"legacyEnum":{"type":"string","enum":["opt1","opt2","opt3"],"enumNames":["Option One","Option Two","Option Three"]},
			"untitledMulti":{"type":"array","items":{"type":"string","enum":["option1","option2","option3"]}},
			"titledMulti":{"type":"array","items":{"anyOf":[{"const":"value1","title":"First Choice"},{"const":"value2","title":"Second Choice"},{"const":"value3","title":"Third Choice"}]}}}`, `[]`)
	}, completed))
}

// one is a tool that asks one question, made of its only argument, and tells what was answered.
func one(question func(arg string) mcp.InputRequest, tell func(mcp.InputResponse) string) func(context, *mcp.CallToolRequest) (*result, error) {
	return func(ctx context, r *mcp.CallToolRequest) (*result, error) {
		var args map[string]string
		_ = json.Unmarshal(r.Params.Arguments, &args)
		arg := ""
		for _, v := range args {
			arg = v
		}
		answers, missing, err := toolRound(ctx, r).ask(mcp.InputRequestMap{"question": question(arg)})
		switch {
		case err != nil:
			out := &result{}
			out.SetError(err)
			return out, nil
		case len(missing) > 0:
			return &result{InputRequests: missing}, nil
		}
		return said(tell(answers["question"])), nil
	}
}

func textOf(c mcp.Content) string {
	if t, ok := c.(*mcp.TextContent); ok {
		return t.Text
	}
	return fmt.Sprintf("%T", c)
}

func outcome(a mcp.InputResponse) string {
	e := a.(*mcp.ElicitResult)
	content, _ := json.Marshal(e.Content)
	return fmt.Sprintf("action=%s, content=%s", e.Action, content)
}
