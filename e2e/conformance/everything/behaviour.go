package main

import (
	gocontext "context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// pause is the time between two signs of life of a fixture.
const pause = 50 * time.Millisecond

func rest(ctx context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return gocontext.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// addBehaviour adds the tools that do something on the way to their result.
func addBehaviour(s *mcp.Server) {
	tool(s, "test_error_handling", "Always fails.", "", func(context, *mcp.CallToolRequest) (*result, error) {
		r := said("This tool intentionally returns an error for testing")
		r.IsError = true
		return r, nil
	})
	tool(s, "test_tool_with_logging", "Writes three log messages.", "", logs("Tool execution started", "Tool processing data", "Tool execution completed"))
	tool(s, "test_logging_tool", "Writes a log message, which only those may hear who asked for it.", "", logs("a message"))
	tool(s, "test_tool_with_progress", "Shows progress three times.", "", progress)
	tool(s, "test_streaming_elicitation", "Shows progress in a stream that holds no request of the server.", "", progress)
	tool(s, "test_reconnection", "Closes the stream before its result, for the client to come back.", "", reconnection)
	tool(s, "test_missing_capability", "Needs a client that can sample.", "", needsSampling)
	tool(s, "test_trigger_tool_change", "Changes the list of tools for a moment.", "", func(ctx context, _ *mcp.CallToolRequest) (*result, error) {
		name := passing()
		tool(s, name, "Is here for a moment.", "", fixed(text("gone soon")))
		if err := rest(ctx, pause); err != nil {
			return nil, err
		}
		time.AfterFunc(2*time.Second, func() { s.RemoveTools(name) })
		return said("the list of tools has changed"), nil
	})
	tool(s, "test_trigger_prompt_change", "Changes the list of prompts for a moment.", "", func(ctx context, _ *mcp.CallToolRequest) (*result, error) {
		name := passing()
		s.AddPrompt(&mcp.Prompt{Name: name, Description: "Is here for a moment."}, func(context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{}}, nil
		})
		if err := rest(ctx, pause); err != nil {
			return nil, err
		}
		time.AfterFunc(2*time.Second, func() { s.RemovePrompts(name) })
		return said("the list of prompts has changed"), nil
	})
}

// passing is a name for something that comes and goes.
func passing() string { return fmt.Sprintf("passing_%d", time.Now().UnixNano()) }

func logs(messages ...string) func(context, *mcp.CallToolRequest) (*result, error) {
	return func(ctx context, r *mcp.CallToolRequest) (*result, error) {
		for i, m := range messages {
			if i > 0 {
				if err := rest(ctx, pause); err != nil {
					return nil, err
				}
			}
			if err := r.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: m}); err != nil {
				return nil, err
			}
		}
		return said("logged"), nil
	}
}

func progress(ctx context, r *mcp.CallToolRequest) (*result, error) {
	token := r.Params.GetProgressToken()
	for i := range 3 {
		if token != nil {
			err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
				ProgressToken: token, Progress: float64(i * 50), Total: 100, Message: fmt.Sprintf("%d of 3", i+1)})
			if err != nil {
				return nil, err
			}
		}
		if err := rest(ctx, pause); err != nil {
			return nil, err
		}
	}
	return said("done"), nil
}

func reconnection(ctx context, r *mcp.CallToolRequest) (*result, error) {
	if r.Extra != nil && r.Extra.CloseSSEStream != nil {
		r.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 2 * pause})
	}
	if err := rest(ctx, 4*pause); err != nil {
		return nil, err
	}
	return said("back again"), nil
}

// needsSampling refuses clients that did not say that they can sample.
func needsSampling(ctx context, r *mcp.CallToolRequest) (*result, error) {
	can := r.ClientCapabilities()
	if can != nil && can.Sampling != nil {
		return said("the client can sample"), nil
	}
	if !isStateless(r) { // there is no code for it: ask, and say what came of it
		_, err := r.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 1, Messages: []*mcp.SamplingMessage{{Role: "user", Content: text("hello")}}})
		out := &result{}
		out.SetError(fmt.Errorf("this tool needs sampling: %w", err))
		return out, nil
	}
	data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
		RequiredCapabilities: &mcp.ClientCapabilities{Sampling: &mcp.SamplingCapabilities{}}})
	if err != nil {
		return nil, err
	}
	return nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "this tool needs sampling", Data: data}
}
