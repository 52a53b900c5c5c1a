package entrypoint

import (
	"context"
	"net/netip"

	"mayfly.io/node-image/mayfly-node/internal/apigate"
)

// RunAPIGate lets this node's connections to the API server wait for it.
func RunAPIGate(ctx context.Context, _ []string) error {
	wanted, err := readNodeDocument()
	if err != nil {
		return err
	}
	endpoint, err := netip.ParseAddrPort(wanted.APIService.Endpoint)
	if err != nil {
		return err
	}
	return apigate.Mind(ctx, endpoint)
}
