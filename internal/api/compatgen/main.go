// Command compatgen writes docs/compatibility.md: every operation of every
// service that Sekisho knows, and whether it is built.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/sekisho-iot/sekisho/internal/api"
)

func main() {
	out := flag.String("out", "docs/compatibility.md", "the file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "compatgen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	page, err := render()
	if err != nil {
		return err
	}
	return os.WriteFile(out, page, 0o644) //nolint:gosec // documentation is world readable
}

// render builds the page from the operation table itself. The rows' services
// are nil: nothing is called.
func render() ([]byte, error) {
	operations, err := api.Operations([]api.Service{
		api.IoT(nil, nil, nil, nil), api.IAM(nil, nil), api.STS(nil, nil, nil), api.IoTData(nil), api.S3(nil), api.Sekisho(nil, nil, nil, nil),
	})
	if err != nil {
		return nil, err
	}
	var order []string
	lists := make(map[string][]api.OperationState)
	for _, o := range operations {
		if lists[o.Service] == nil {
			order = append(order, o.Service)
		}
		lists[o.Service] = append(lists[o.Service], o)
	}
	var page bytes.Buffer
	page.WriteString(head)
	for _, service := range order {
		fmt.Fprintf(&page, "| [%s](#%s) | %d | %d |\n", service, service, count(lists[service]), len(lists[service]))
	}
	for _, service := range order {
		list := lists[service]
		fmt.Fprintf(&page, "\n## %s\n\n", service)
		if count(list) == 0 {
			fmt.Fprintf(&page, "None of its %d operations is built.\n", len(list))
			continue
		}
		page.WriteString("| operation | state |\n|---|---|\n")
		for _, o := range list {
			state := "501"
			if o.Built {
				state = "built"
			}
			fmt.Fprintf(&page, "| %s | %s |\n", o.Operation, state)
		}
	}
	return page.Bytes(), nil
}

func count(list []api.OperationState) int {
	n := 0
	for _, o := range list {
		if o.Built {
			n++
		}
	}
	return n
}

const head = `# Compatibility

Generated from the operation table by ` + "`make generate`" + `; do not edit.

An operation that is known but not built answers 501 ` + "`NotImplemented`" + ` with its name to a
correctly signed request, never a false success. What no service here knows is refused as AWS refuses it.

| service | built | known |
|---|---|---|
`
