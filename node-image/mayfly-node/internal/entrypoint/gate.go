package entrypoint

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"net/netip"
	"os"

	"mayfly.io/node-image/mayfly-node/internal/apigate"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// closedGate has the endpoint that the gate is closed for. It is gone when the
// node is started again. mayfly-api-gate.service depends on it.
const closedGate = "/run/mayfly-api-gate"

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
	return os.WriteFile(closedGate, []byte(endpoint.String()), 0o644)
}

// RunAPIGate minds the gate until the API server is there.
func RunAPIGate(ctx context.Context, _ []string) error {
	text, err := os.ReadFile(closedGate)
	if err != nil {
		return err
	}
	endpoint, err := netip.ParseAddrPort(string(text))
	if err != nil {
		return err
	}
	return apigate.Mind(ctx, endpoint)
}
