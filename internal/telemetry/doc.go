// Package telemetry sets up what the program says about itself: structured logs (log.go) and metrics (metrics.go).
// Secrets are kept out of logs twice, by the code that logs and by a guard here that looks at every key and value. It
// decides nothing about what is logged or counted.
package telemetry
