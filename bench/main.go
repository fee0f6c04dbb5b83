package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{
		Use: "bench", Short: "Measure what Gatehouse costs", SilenceUsage: true, SilenceErrors: true,
		Example: "  go run ./bench run --quick\n  go run ./bench soak --minutes 3",
	}
	root.AddCommand(runCommand(), rateCommand(), installPeersCommand(), soakCommand(), countsCommand(), instructionsCommand(), copyCommand(), compareCommand(), profileCommand(), serveCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// onOwnCore starts this program again on the core that the gateway does not have, unless it is there already.
func onOwnCore() (done bool, err error) {
	if !canPin() || os.Getenv("BENCH_PINNED") != "" {
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.Command("taskset", append([]string{"-c", ownCore, self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), "BENCH_PINNED=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if code, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(code.ExitCode())
	}
	return true, err
}
