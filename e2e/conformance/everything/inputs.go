package main

import (
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// step is one round of questions, and what is said once they are answered.
type step struct {
	name      string // of the state that the round ends in
	questions mcp.InputRequestMap
}

func ask(key string, q mcp.InputRequest) mcp.InputRequestMap { return mcp.InputRequestMap{key: q} }

func nameForm(message string) *mcp.ElicitParams {
	return form(message, `{"name":{"type":"string"}}`, `["name"]`)
}

// addInputs adds the tools of the stateless era that need input before they give a result.
func addInputs(s *mcp.Server) {
	st := newStates()
	add := func(name, description string, stated bool, tell func(mcp.InputResponseMap) string, steps ...step) {
		tool(s, "test_input_required_result_"+name, description, "", rounds(st, stated, tell, steps...))
	}
	add("elicitation", "Asks for a name.", false, func(a mcp.InputResponseMap) string {
		return fmt.Sprintf("Hello, %v!", a["user_name"].(*mcp.ElicitResult).Content["name"])
	}, step{questions: ask("user_name", nameForm("What is your name?"))})
	add("sampling", "Has a question answered by the client's model.", false, func(a mcp.InputResponseMap) string {
		return sampled(a["capital_question"])
	}, step{questions: ask("capital_question", sample("What is the capital of France?", 100))})
	add("list_roots", "Asks for the client's roots.", false, func(a mcp.InputResponseMap) string {
		return rootsOf(a["client_roots"])
	}, step{questions: ask("client_roots", &mcp.ListRootsParams{})})
	confirm := ask("confirm", form("Please confirm", `{"ok":{"type":"boolean"}}`, `["ok"]`))
	add("request_state", "Keeps its state at the client.", true, func(mcp.InputResponseMap) string { return "state-ok" },
		step{"confirm", confirm})
	add("tampered_state", "Refuses a state that was altered.", true, func(mcp.InputResponseMap) string { return "confirmed" },
		step{"confirm", confirm})
	add("multiple_inputs", "Asks three things at once.", true, func(a mcp.InputResponseMap) string {
		return fmt.Sprintf("%s; %s; %s", outcome(a["user_name"]), sampled(a["greeting"]), rootsOf(a["client_roots"]))
	}, step{"all", mcp.InputRequestMap{
		"user_name": nameForm("What is your name?"), "greeting": sample("Generate a greeting", 50), "client_roots": &mcp.ListRootsParams{}}})
	add("multi_round", "Asks twice, one after the other.", true, func(a mcp.InputResponseMap) string {
		return "both rounds are done: " + outcome(a["step2"])
	}, step{"step1", ask("step1", nameForm("Step 1: What is your name?"))},
		step{"step2", ask("step2", form("Step 2: What is your favorite color?", `{"color":{"type":"string"}}`, `["color"]`))})
	tool(s, "test_input_required_result_capabilities", "Asks only what the client can answer.", "", whatItCan(st))
}

func rootsOf(a mcp.InputResponse) string {
	out := "roots:"
	for _, root := range a.(*mcp.ListRootsResult).Roots {
		out += " " + root.URI
	}
	return out
}

// rounds is a tool that asks step by step. Without a session the state says which steps are behind; a stated tool keeps
// one in any case.
func rounds(st *states, stated bool, tell func(mcp.InputResponseMap) string, steps ...step) func(context, *mcp.CallToolRequest) (*result, error) {
	return func(ctx context, r *mcp.CallToolRequest) (*result, error) {
		at, err := begin(st, steps, r.Params.RequestState)
		if err != nil {
			return nil, err
		}
		var answers mcp.InputResponseMap
		for ; at < len(steps); at++ {
			var missing mcp.InputRequestMap
			round := toolRound(ctx, r)
			if answers, missing, err = round.ask(steps[at].questions); err != nil {
				out := &result{}
				out.SetError(err)
				return out, nil
			}
			if len(missing) > 0 {
				out := &result{InputRequests: missing}
				if stated {
					out.RequestState = st.seal(steps[at].name)
				}
				return out, nil
			}
		}
		return said(tell(answers)), nil
	}
}

// begin returns the step at which a call stands.
func begin(st *states, steps []step, state string) (int, error) {
	name, err := st.open(state)
	if err != nil || name == "" {
		return 0, err
	}
	for i, s := range steps {
		if s.name == name {
			return i, nil
		}
	}
	return 0, nil
}

// whatItCan asks one thing, of those that the client said it can answer.
func whatItCan(st *states) func(context, *mcp.CallToolRequest) (*result, error) {
	return func(ctx context, r *mcp.CallToolRequest) (*result, error) {
		can := r.ClientCapabilities()
		var s step
		switch {
		case can == nil:
		case can.Sampling != nil:
			s = step{"sampling", ask("greeting", sample("Generate a greeting", 50))}
		case can.Elicitation != nil:
			s = step{"elicitation", ask("user_name", nameForm("What is your name?"))}
		}
		if s.name == "" {
			return said("the client can answer nothing"), nil
		}
		return rounds(st, true, func(mcp.InputResponseMap) string { return "answered" }, s)(ctx, r)
	}
}
