// Command sekisho-device is `sekisho device` alone, for devices that are too
// small for the server.
package main

import (
	"os"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/cmd/internal/device"
)

// version is set by the build.
var version string

func program() *cli.Program {
	return &cli.Program{
		Name: "sekisho-device", About: "sekisho-device is " + device.About + ".",
		Commands: append(device.Commands(), cli.VersionCommand(version)),
	}
}

func main() { os.Exit(program().Main()) }
