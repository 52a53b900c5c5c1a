// Command mayfly-node is everything that must happen inside a node container.
// Each subcommand lives in its own package under internal/ and exports one
// function: Run(ctx, args).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"mayfly.io/node-image/mayfly-node/internal/controlplane"
	"mayfly.io/node-image/mayfly-node/internal/crictl"
	"mayfly.io/node-image/mayfly-node/internal/dnswait"
	"mayfly.io/node-image/mayfly-node/internal/entrypoint"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
	"mayfly.io/node-image/mayfly-node/internal/images"
	"mayfly.io/node-image/mayfly-node/internal/loadbalancer"
	"mayfly.io/node-image/mayfly-node/internal/network"
	"mayfly.io/node-image/mayfly-node/internal/rollback"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
	"mayfly.io/node-image/rest"
)

type subcommand struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string) error
}

// One line a subcommand; the order is the one of the usage text.
var subcommands = []subcommand{
	{"entrypoint", "make a node out of this container and start its init system", entrypoint.Run},
	{"control-plane", "run a control plane and nothing else in this container", controlplane.Run},
	{"kubelet-cgroup", "create the cgroup that the kubelet starts pods in", entrypoint.RunKubeletCgroup},
	{"control-plane-at", "reach the control plane at another address", entrypoint.RunMoveControlPlane},
	{"api-gate", "let connections to the API server wait until it answers", entrypoint.RunAPIGate},
	{"dns-relay", "answer DNS queries of pods that reach no server", entrypoint.RunDNSRelay},
	{"static-pods-start", "start the control plane without the kubelet", staticpods.RunStart},
	{"static-pods-set", "change flags of the control plane's pods", staticpods.RunSet},
	{"static-pods-save", "write what the control plane's pods are made of to standard output", staticpods.RunSave},
	{"state-save", "write the state of this control plane to standard output", etcdstate.RunSave},
	{"etcd-member", "add a member to this control plane's etcd, or remove one", etcdstate.RunMember},
	{"snapshot-take", "save the state of this node in a folder of it", rollback.RunTake},
	{"snapshot-export", "write a snapshot for other clusters to be made of", rollback.RunExport},
	{"rollback", "take this control plane back to a saved state", rollback.Run},
	{"rollback-node", "end what runs on this node without an object", rollback.RunNode},
	{"loadbalancer", "spread connections over several API servers", loadbalancer.Run},
	{"dns-wait", "wait until the cluster's DNS answers", dnswait.Run},
	{"images-bake", "write a containerd store whose layers are directories", images.RunBake},
	{"images-adopt", "unpack the images of another node image's containerd store", images.RunAdopt},
	{"images-serve", "answer what images this node has, and link to others", images.RunServe},
	{"images-import", "make images of a stream of layers", images.RunImport},
	{"network", "run the cluster network daemon", network.Run},
	{"cni-config", "print the CNI configuration of a node", network.RunCNIConfig},
	{"crictl", "ask the container runtime, as crictl does; also under that name", crictl.Run},
}

func main() {
	rest.GiveBackMemory()
	args := os.Args
	if filepath.Base(args[0]) == "crictl" { // a link, as kind calls crictl by its name
		args = append([]string{"mayfly-node"}, args...)
		args[1] = "crictl"
	}
	if len(args) < 2 {
		usage()
		os.Exit(2)
	}
	for _, c := range subcommands {
		if c.name != args[1] {
			continue
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err := c.run(ctx, args[2:])
		stop()
		switch {
		case errors.Is(err, flag.ErrHelp):
		case err != nil:
			fmt.Fprintf(os.Stderr, "mayfly-node %s: %v\n", c.name, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "mayfly-node: unknown subcommand %q\n", args[1])
	usage()
	os.Exit(2)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: mayfly-node SUBCOMMAND [flags]")
	for _, c := range subcommands {
		fmt.Fprintf(os.Stderr, "  %-17s %s\n", c.name, c.summary)
	}
}
