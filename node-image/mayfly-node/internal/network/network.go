// Package network is the cluster network daemon: routes between the nodes'
// pod subnets, masquerading, CNI configuration and NetworkPolicy.
package network

import (
	"context"
	"errors"
)

// Run is the subcommand network: it keeps this node's pod network in step with
// the cluster until ctx ends.
func Run(ctx context.Context, args []string) error {
	return errors.New("not there yet")
}

// RunCNIConfig is the subcommand cni-config: it prints the CNI configuration
// of a node.
func RunCNIConfig(ctx context.Context, args []string) error {
	return errors.New("not there yet")
}
