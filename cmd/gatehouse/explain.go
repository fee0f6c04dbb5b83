package main

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/internal/app"
	"gatehouse/internal/authn"
)

// maxTokenInput bounds what is read as a token.
const maxTokenInput = 1 << 20

func newExplain(s streams) *cobra.Command {
	var in installation
	var endpoint, file, proofFile, certificateFile string
	var how authn.Shown
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say check by check why a token is accepted or refused, and what to do",
		Long: `Reads an access token from standard input, or from a file, and checks it as an endpoint would: issuer, signature,
type, time, audience, client, scopes, claim rules, revocation, each with what was expected and what was found. For a
token that is refused it names the likely cause and the cure. The exit code is 1 when the token would be refused.

A token that is bound to a key of the client (DPoP) is good only with a proof for each request. Give one that a client
sent with --proof-file, to learn what is wrong with it. For a token that is bound to a client certificate, give that
with --certificate-file.

The token is not taken from the command line, where shell history and process lists would keep it.`,
		Example: `  gatehouse explain -c gatehouse.yaml --endpoint /mcp < token.txt
  pbpaste | gatehouse explain -c gatehouse.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errors.New("explain takes no arguments: a token on the command line stays in shell history and process lists; give it on standard input or with --token-file, and get a new one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := readToken(cmd.Context(), s, file)
			if err != nil {
				return err
			}
			if proofFile != "" {
				if how.Proof, err = readToken(cmd.Context(), s, proofFile); err != nil {
					return err
				}
			}
			if certificateFile != "" {
				if how.Certificate, err = readCertificate(certificateFile); err != nil {
					return err
				}
			}
			return in.with(cmd, s, func(a *app.Admin) error {
				x, err := a.Explain(cmd.Context(), endpoint, token, how)
				if err != nil {
					return err
				}
				printExplanation(s.out, x, isTerminal(s.out) && os.Getenv("NO_COLOR") == "")
				if x.Refusal != nil {
					return errSilent
				}
				return nil
			})
		},
	}
	in.flags(cmd)
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "path of the endpoint, such as /mcp; may be left out when there is only one")
	cmd.Flags().StringVar(&file, "token-file", "", "file with the token; without it the token is read from standard input")
	cmd.Flags().StringVar(&proofFile, "proof-file", "", "file with the DPoP header that came with the token, for tokens that are bound to a key")
	cmd.Flags().StringVar(&certificateFile, "certificate-file", "", "file with the client's certificate in PEM, for tokens that are bound to one")
	cmd.Flags().StringVar(&how.Method, "method", "POST", "method of the request that the DPoP header was made for")
	return cmd
}

func readToken(ctx context.Context, s streams, file string) (string, error) {
	from := s.input(ctx)
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		defer f.Close()
		from = f
	} else if isTerminal(s.in) {
		fmt.Fprintln(s.err, "Paste the token, then press Enter and Ctrl-D.")
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxTokenInput))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return string(raw), nil
}

// readCertificate reads the first certificate of a file in PEM.
func readCertificate(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return nil, fmt.Errorf("read the certificate: %s holds none in PEM", file)
		}
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
}

// isTerminal reports whether a stream is a person's terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printExplanation writes one aligned line a check, and a second one for what was expected where it failed.
func printExplanation(w io.Writer, x *authn.Explanation, colour bool) {
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	fmt.Fprintf(w, "endpoint    %s\nauthorizer  %s\n\n", x.Endpoint.Resource, printable(cmp.Or(x.Authorizer, "none")))
	marks := map[authn.Outcome]string{authn.Passed: paint("32", "ok  "), authn.Failed: paint("31", "FAIL"), authn.Skipped: paint("2", "-   ")}
	width := 0
	for _, c := range x.Checks {
		width = max(width, len(c.Name))
	}
	for _, c := range x.Checks {
		found := c.Found
		if c.Outcome == authn.Passed && found == "" {
			found = c.Expected
		}
		fmt.Fprintf(w, "%s  %-*s  %s\n", marks[c.Outcome], width, c.Name, printable(found))
		if c.Outcome == authn.Failed {
			fmt.Fprintf(w, "      %-*s  expected %s\n", width, "", printable(c.Expected))
		}
	}
	if x.Refusal == nil {
		fmt.Fprintf(w, "\n%s\n", paint("32", "The token would be accepted. What its person may use is decided by the access rule of the endpoint."))
		return
	}
	fmt.Fprintf(w, "\n%s %d %s: %s\n", paint("31", "refused"), x.Refusal.Status, x.Refusal.Reason, x.Refusal.Description)
	for i, c := range x.Causes {
		label := "likely cause"
		if i > 0 {
			label = "also        "
		}
		fmt.Fprintf(w, "\n%s  %s\nwhat to do    %s\n", paint("1", label), printable(c.What), printable(c.Cure))
	}
}

// printable keeps what stems from a token from playing tricks on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
