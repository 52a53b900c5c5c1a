// Package entrypoint makes a node out of a container: it does what
// `--privileged` would have done, gives the node an identity of its own, and
// hands over to systemd.
package entrypoint

import (
	"context"
	"fmt"
	"log"
	"os"
	"syscall"

	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// step is one duty of the entrypoint. A failing duty ends the container, with
// one line that says which it was.
type step struct {
	name string
	run  func(context.Context) error
}

// The order matters where a comment says so.
var steps = []step{
	{"make cgroups writable", mountCgroups},
	{"make /sys writable", remountSys},
	{"create device nodes", createDevices},
	{"separate volumes from the host", separateVolumes},
	{"share mounts with pods", shareMounts}, // after every mount above, so that they propagate too
	{"set machine identity", setMachineIdentity},
	{"keep the journal", keepJournal},
	{"choose the iptables flavour", chooseIPTables},
	{"let pods reach the engine's DNS", redirectEngineDNS}, // needs the flavour
	{"set DNS search domains", setDNSSearch},
	{"relay DNS queries of pods", relayDNS}, // needs the servers that the two before left
	{"answer ARP requests of pods", answerARP},
	{"name other hosts", nameHosts},
	{"pass proxy settings on", passProxyOn},
	{"install core images", installImages},
	{"carry a changed address over", followAddress},
	{"prepare the cluster's network", prepareNetwork},
	{"restore the control plane's state", RestoreState},                 // needs this node's address
	{"record the manifests of static pods", staticpods.RecordManifests}, // needs them as changed addresses and the state leave them
	{"hold connections to the API server", closeGate},
}

// Run does every duty in order and then becomes the command in args, which is
// the init system of the node.
func Run(ctx context.Context, args []string) error {
	log.SetFlags(log.Lmicroseconds)
	for _, s := range steps {
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("could not %s: %w", s.name, err)
		}
	}
	if len(args) == 0 {
		args = []string{"/sbin/init"}
	}
	if args[0] == "/sbin/init" {
		args = append(args, initArguments()...)
	}
	log.Printf("starting %s", args[0])
	return syscall.Exec(args[0], args, os.Environ())
}
