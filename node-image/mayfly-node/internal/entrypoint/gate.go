package entrypoint

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"net/netip"
	"os"

	"mayfly.io/node-image/mayfly-node/internal/apigate"
	"mayfly.io/node-image/mayfly-node/internal/podshare"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// closeGate makes this node's connections to the API server wait for it, unless
// they are the ones that it waits for: the API server of a control plane that is
// started again is started by its own kubelet.
func closeGate(ctx context.Context) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(staticpods.Document); err != nil && wanted.Etcd != nil {
		return nil
	}
	endpoint, err := netip.ParseAddrPort(wanted.APIService.Endpoint)
	if err != nil {
		return err
	}
	if err := apigate.Close(ctx, endpoint); err != nil {
		log.Printf("the kubelet will not be waited for: %v", err) // kernels may lack the queue
		return nil
	}
	return os.WriteFile(apigate.Closed, []byte(endpoint.String()), 0o644)
}

// RunAPIGate minds the gate until the API server is there. Until then pods may
// have come first; see staticpods.RunStart.
func RunAPIGate(ctx context.Context, _ []string) error {
	text, err := os.ReadFile(apigate.Closed)
	if err != nil {
		return err
	}
	endpoint, err := netip.ParseAddrPort(string(text))
	if err != nil {
		return err
	}
	minded := apigate.Mind(ctx, endpoint)
	opened := os.Remove(apigate.Closed)
	shared := podshare.Usual()
	if errors.Is(shared, fs.ErrNotExist) { // a node whose kubelet never started
		shared = nil
	}
	return errors.Join(minded, opened, shared)
}
