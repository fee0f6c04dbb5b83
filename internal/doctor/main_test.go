package doctor_test

import (
	"testing"

	"gatehouse/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.RunIfAsked() // targets that are commands
	m.Run()
}
