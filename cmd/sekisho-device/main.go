// Command sekisho-device is `sekisho device` alone, for devices that are too
// small for the server.
package main

import (
	"os"
	"runtime/debug"

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

// gcPercent keeps the heap near to what is used: devices have more time than memory.
const gcPercent = 50

func main() {
	if was := debug.SetGCPercent(gcPercent); was != 100 { // GOGC says otherwise
		debug.SetGCPercent(was)
	}
	os.Exit(program().Main())
}
