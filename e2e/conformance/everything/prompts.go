package main

import (
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func prompt(s *mcp.Server, name, description string, args []string, f func(args map[string]string) []mcp.Content) {
	p := &mcp.Prompt{Name: name, Description: description}
	for _, a := range args {
		p.Arguments = append(p.Arguments, &mcp.PromptArgument{Name: a, Description: "The argument " + a + ".", Required: true})
	}
	s.AddPrompt(p, func(_ context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return messages(f(r.Params.Arguments)...), nil
	})
}

func messages(contents ...mcp.Content) *mcp.GetPromptResult {
	out := &mcp.GetPromptResult{}
	for _, c := range contents {
		out.Messages = append(out.Messages, &mcp.PromptMessage{Role: "user", Content: c})
	}
	return out
}

func addPrompts(s *mcp.Server) {
	prompt(s, "test_simple_prompt", "One message.", nil, func(map[string]string) []mcp.Content {
		return []mcp.Content{text("This is a simple prompt for testing.")}
	})
	prompt(s, "test_prompt_with_arguments", "A message with two arguments in it.", []string{"arg1", "arg2"}, func(a map[string]string) []mcp.Content {
		return []mcp.Content{text(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", a["arg1"], a["arg2"]))}
	})
	prompt(s, "test_prompt_with_embedded_resource", "A message with a resource in it.", []string{"resourceUri"}, func(a map[string]string) []mcp.Content {
		return []mcp.Content{resourceContent(a["resourceUri"], "text/plain", "Embedded resource content for testing."), text("Please process the embedded resource above.")}
	})
	prompt(s, "test_prompt_with_image", "A message with an image in it.", nil, func(map[string]string) []mcp.Content {
		return []mcp.Content{&mcp.ImageContent{Data: onePixel(), MIMEType: "image/png"}, text("Please analyze the image above.")}
	})
	s.AddPrompt(&mcp.Prompt{Name: "test_input_required_result_prompt", Description: "Asks for its context."},
		func(ctx context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			round := &round{ctx, isStateless(r), r.Session, r.Params.InputResponses}
			answers, missing, err := round.ask(ask("user_context", form("What context should the prompt use?", `{"context":{"type":"string"}}`, `["context"]`)))
			if err != nil || len(missing) > 0 {
				return &mcp.GetPromptResult{InputRequests: missing}, err
			}
			return messages(text("The context: " + outcome(answers["user_context"]))), nil
		})
}

// complete suggests words that begin with what was typed.
func complete(_ context, r *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	out := &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}
	for _, word := range []string{"paris", "park", "party"} {
		if strings.HasPrefix(word, r.Params.Argument.Value) {
			out.Completion.Values = append(out.Completion.Values, word)
		}
	}
	out.Completion.Total = len(out.Completion.Values)
	return out, nil
}
