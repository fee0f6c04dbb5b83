// Package audit keeps the record of what happened: one typed event per security decision and per call, as JSON lines in
// segment files, with one fsync for many events (group commit). It owns the files and their rotation; who looks at
// them, and where else they go, is decided elsewhere. An Event has no field that could hold a secret.
package audit
