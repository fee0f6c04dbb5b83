package main

import (
	"crypto/rand"
	"fmt"
	"maps"
	"sync"
	"time"
)

// server keeps the tasks.
type server struct {
	mu    sync.Mutex
	tasks map[string]*task
}

// task is one call that goes on behind the answer.
type task struct {
	id      string
	status  string
	begun   time.Time
	changed time.Time
	end     object // the members that the last status has: result, error
	pending object // questions
	answers object // by question
	stop    chan struct{}
	came    chan struct{} // an answer
}

func tools() []object {
	tool := func(name, support, properties string) object {
		t := object{"name": name, "description": "A fixture of the suite.", "inputSchema": object{"type": "object"}}
		if properties != "" {
			t["inputSchema"] = object{"type": "object", "properties": object{properties: object{}}}
		}
		if support != "" {
			t["execution"] = object{"taskSupport": support}
		}
		return t
	}
	return []object{
		tool("confirm_delete", "optional", "filename"), tool("failing_job", "required", ""), tool("greet", "", "name"), tool("multi_input", "optional", ""),
		tool("protocol_error_job", "optional", ""), tool("slow_compute", "optional", "seconds"), tool("test_tool_with_task", "required", ""),
	}
}

func text(format string, of ...any) object {
	return object{"content": []object{{"type": "text", "text": fmt.Sprintf(format, of...)}}}
}

func question(message string) object {
	return object{"method": "elicitation/create", "params": object{"mode": "form", "message": message,
		"requestedSchema": object{"type": "object", "properties": object{"confirm": object{"type": "boolean"}, "name": object{"type": "string"}}}}}
}

func (s *server) callTool(c *call) (object, *fault) {
	name := c.Params.Name
	work := map[string]func(*task){
		"slow_compute": func(t *task) {
			if seconds, _ := c.Params.Arguments["seconds"].(float64); t.rest(time.Duration(seconds * float64(time.Second))) {
				s.finish(t, "completed", object{"result": text("computed %v", c.Params.Arguments["label"])})
			}
		},
		"failing_job": func(t *task) {
			if t.rest(300 * time.Millisecond) {
				failed := text("it failed")
				failed["isError"] = true
				s.finish(t, "completed", object{"result": failed})
			}
		},
		"protocol_error_job": func(t *task) {
			s.finish(t, "failed", object{"error": fault{Code: -32603, Message: "it broke"}})
		},
		"confirm_delete": func(t *task) {
			if s.ask(t, object{"confirm": question("Delete it?")}) {
				s.finish(t, "completed", object{"result": text("deleted")})
			}
		},
		"multi_input": func(t *task) {
			if s.ask(t, object{"first": question("First?"), "second": question("Second?")}) {
				s.finish(t, "completed", object{"result": text("both answered")})
			}
		},
		"test_tool_with_task": func(t *task) {
			content, _ := c.Params.InputResponses["user_name"]["content"].(object)
			s.finish(t, "completed", object{"result": text("Hello, %v", content["name"])})
		},
	}[name]
	switch {
	case name == "greet":
		return text("Hello, %v!", c.Params.Arguments["name"]), nil
	case work == nil:
		return nil, &fault{Code: invalidParams, Message: "Unknown tool"}
	case c.declares() && name == "test_tool_with_task" && c.Params.InputResponses == nil:
		return object{"resultType": "input_required", "inputRequests": object{"user_name": question("What is your name?")}, "requestState": "asked"}, nil
	case c.declares():
		return s.begin(work), nil
	case name == "failing_job" || name == "test_tool_with_task":
		return nil, undeclared()
	}
	t := newTask()
	work(t)
	result, _ := t.end["result"].(object)
	return result, nil
}

func undeclared() *fault {
	return &fault{Code: missingCapability, Message: "this needs tasks", Data: object{"requiredCapabilities": object{"extensions": object{tasksExtension: object{}}}}}
}

func newTask() *task {
	now := time.Now()
	return &task{id: rand.Text(), status: "working", begun: now, changed: now, stop: make(chan struct{}), came: make(chan struct{}, 10), answers: object{}}
}

// rest reports whether the task was not cancelled in the meantime.
func (t *task) rest(d time.Duration) bool {
	select {
	case <-t.stop:
		return false
	case <-time.After(d):
		return true
	}
}

func (s *server) begin(work func(*task)) object {
	t := newTask()
	s.mu.Lock()
	s.tasks[t.id] = t
	shown := t.shown()
	s.mu.Unlock()
	go work(t)
	shown["resultType"] = "task"
	return shown
}

// shown is the task without what it came to. It needs the lock.
func (t *task) shown() object {
	const form = "2006-01-02T15:04:05.000Z"
	return object{"taskId": t.id, "status": t.status, "createdAt": t.begun.UTC().Format(form), "lastUpdatedAt": t.changed.UTC().Format(form),
		"ttlMs": 600_000, "pollIntervalMs": 100}
}

func (s *server) finish(t *task, status string, end object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.end == nil {
		t.status, t.end, t.pending, t.changed = status, end, nil, time.Now()
	}
}

// ask waits until all questions are answered, or the task was cancelled.
func (s *server) ask(t *task, questions object) bool {
	s.mu.Lock()
	t.status, t.pending, t.changed = "input_required", questions, time.Now()
	s.mu.Unlock()
	for {
		select {
		case <-t.stop:
			return false
		case <-t.came:
		}
		s.mu.Lock()
		left := len(t.pending)
		s.mu.Unlock()
		if left == 0 {
			return true
		}
	}
}

// ofTask answers the three requests about tasks.
func (s *server) ofTask(c *call) (object, *fault) {
	if !c.declares() {
		return nil, undeclared()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[c.Params.TaskID]
	if t == nil {
		return nil, &fault{Code: invalidParams, Message: "Unknown task"}
	}
	switch c.Method {
	case "tasks/update":
		for key := range c.Params.InputResponses {
			if t.pending[key] != nil {
				t.pending = maps.Clone(t.pending)
				delete(t.pending, key)
			}
		}
		if len(t.pending) == 0 && t.status == "input_required" {
			t.status = "working"
		}
		select {
		case t.came <- struct{}{}:
		default: // it will look anyway
		}
		return object{}, nil
	case "tasks/cancel":
		if t.end == nil {
			t.status, t.end, t.pending = "cancelled", object{}, nil
			close(t.stop)
		}
		return object{}, nil
	}
	shown := t.shown()
	maps.Copy(shown, t.end)
	if t.pending != nil && t.status == "input_required" {
		shown["inputRequests"] = t.pending
	}
	return shown, nil
}
