// Command daemon is containerd as it is released, except that it gives back memory
// while it is at rest, and keeps no events that nobody asks for.
package main

import (
	"context"
	"fmt"
	"os"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"mayfly.io/node-image/rest"
)

func main() {
	rest.GiveBackMemory()
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}
