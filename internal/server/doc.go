// Package server holds the options and the only wiring: New builds every room
// in one straight line, Run listens until the context ends.
//
// Invariant: what New or Run started is stopped, in reverse order, before Run
// or Close returns.
package server
