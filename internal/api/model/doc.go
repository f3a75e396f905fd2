// Package model holds what is generated from AWS's API models: for every known
// service the binding of each operation, and for the operations that built.txt
// lists the shapes and Go structs of their messages. To build an operation, add
// its line to built.txt and run make generate.
package model
