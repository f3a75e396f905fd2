// Command sekisho is the checkpoint between devices and storage: the server,
// the commands that administer it, and those that a device runs.
package main

import (
	"os"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/cmd/internal/device"
	"github.com/sekisho-iot/sekisho/internal/server"
)

// version is set by the build.
var version string

func program() *cli.Program {
	return &cli.Program{
		Name: "sekisho", About: "sekisho is the checkpoint between devices and storage.", IsUsage: server.IsUsage,
		Commands: []cli.Command{
			{Name: "serve", Summary: "run the server", Run: serve},
			{Name: "env", Summary: "print the variables that make this shell a client of a server", Run: env},
			{Name: "enroll", Args: "THING", Summary: "register a thing with a new certificate and leave what its device needs in a folder", Run: enroll},
			{Name: "explain", Summary: "say why an action is allowed or refused", Run: explain},
			{Name: "migrate", Summary: "copy the database of a data folder to PostgreSQL, or back", Run: migrate},
			{Name: "uploads", Summary: "what devices have uploaded, and the door for those with MQTT alone", Sub: uploadsCommands()},
			{Name: "import", Summary: "copy a fleet from elsewhere to the server", Sub: importCommands()},
			{Name: "backup", Args: "FILE", Summary: "copy everything that a running server keeps into one sealed file", Run: makeBackup},
			{Name: "restore", Args: "FILE", Summary: "make a data folder of a backup", Run: restore},
			{Name: "keys", Summary: "the master key", Sub: keysCommands()},
			{Name: "doctor", Summary: "look for what keeps a server from working, and say what to do", Run: doctor},
			{Name: "device", Summary: device.About, Sub: device.Commands()},
			{Name: "demo", Summary: "do the whole main job in a temporary folder", Run: demo},
			cli.VersionCommand(version),
		},
		Notes: "Every flag can also be set by the\n" +
			"environment: --api-listen is SEKISHO_API_LISTEN; of a repeatable one the values stand\n" +
			"there with commas between.",
	}
}

func main() { os.Exit(program().Main()) }
