// Package network is the cluster network of a node: routes to the other nodes'
// pod subnets, masquerading, CNI configuration and NetworkPolicy.
//
// It stands where kindnetd stands in a kind cluster: one hostNetwork pod a
// node, following the API by watch. The pieces do not know of each other:
// nodes.go says what is wanted, routes.go, masquerade.go and cniconf.go bring
// the node there, and package policy does NetworkPolicy.
package network

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/klog/v2"

	"mayfly.io/node-image/mayfly-node/internal/network/policy"
)

type options struct {
	nodeName             string
	podSubnets           []netip.Prefix
	kubeconfig           string
	controlPlaneEndpoint string
	healthzAddress       string
	cniConfigPath        string
}

// Run is the subcommand network: it keeps this node's network in step with the
// cluster until ctx ends, and leaves routes and rules in place when it does, so
// that a restart of the daemon interrupts nobody.
func Run(ctx context.Context, args []string) error {
	started := time.Now()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	klog.SetSlogLogger(log)

	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	if opts.healthzAddress != "" {
		// First of all: a kubelet whose probe is refused comes again only after
		// a whole period, one that is kept waiting is answered at once.
		listener, err := net.Listen("tcp", opts.healthzAddress)
		if err != nil {
			return fmt.Errorf("cannot serve healthz: %w", err)
		}
		server := &http.Server{Handler: healthz(ready), ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(listener) }()
		defer server.Close()
	}
	clients, err := newClients(opts.kubeconfig, opts.controlPlaneEndpoint)
	if err != nil {
		return err
	}
	node := &nodeNetwork{
		log:           log,
		nodeName:      opts.nodeName,
		podSubnets:    opts.podSubnets,
		cniConfigPath: opts.cniConfigPath,
	}
	nodes := newMirror(toNode)
	pods := newMirror(policy.PodFrom)
	namespaces := newMirror(policy.NamespaceFrom)
	policies := newMirror(policy.PolicyFrom)

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { follow(ctx, clients.core, "nodes", &corev1.Node{}, nodes) })
	wg.Go(func() {
		node.keep(ctx, nodes, func() {
			log.Info("node network is in place", "node", opts.nodeName, "after", time.Since(started).Round(time.Millisecond))
			close(ready)
		})
	})

	enforcer, err := policy.NewEnforcer()
	if err != nil {
		log.Error("nftables does not work on this node: NetworkPolicy is not enforced", "err", err)
		<-ctx.Done()
		return nil
	}
	wg.Go(func() { follow(ctx, clients.core, "pods", &corev1.Pod{}, pods) })
	wg.Go(func() { follow(ctx, clients.core, "namespaces", &corev1.Namespace{}, namespaces) })
	wg.Go(func() {
		follow(ctx, clients.networking, "networkpolicies", &networkingv1.NetworkPolicy{}, policies)
	})
	keepPolicies(ctx, log, opts.nodeName, enforcer, pods, namespaces, policies)
	return nil
}

func parseOptions(args []string) (options, error) {
	var o options
	var podSubnets string
	f := flag.NewFlagSet("network", flag.ContinueOnError)
	f.StringVar(&o.nodeName, "node-name", os.Getenv("NODE_NAME"), "name of this node's Node object (env NODE_NAME)")
	f.StringVar(&podSubnets, "pod-subnet", os.Getenv("POD_SUBNET"), "the cluster's pod subnets, separated by commas: never masqueraded between (env POD_SUBNET)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it the pod's service account is used")
	f.StringVar(&o.controlPlaneEndpoint, "control-plane-endpoint", os.Getenv("CONTROL_PLANE_ENDPOINT"), "host:port of the API server, instead of the kubernetes Service, which only answers once kube-proxy runs (env CONTROL_PLANE_ENDPOINT)")
	f.StringVar(&o.healthzAddress, "healthz-address", "127.0.0.1:10244", "where /healthz answers as soon as the node's network is in place; empty for nowhere")
	f.StringVar(&o.cniConfigPath, "cni-config", defaultCNIConfigPath, "CNI configuration file; written only if its content differs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.nodeName == "" {
		return o, errors.New("the node's name is not known: set NODE_NAME or --node-name")
	}
	if hostIP, podIP := os.Getenv("HOST_IP"), os.Getenv("POD_IP"); hostIP != podIP {
		return o, fmt.Errorf("the pod must use the host's network: HOST_IP is %q, POD_IP is %q", hostIP, podIP)
	}
	var err error
	o.podSubnets, err = parsePrefixes(podSubnets)
	return o, err
}

// parsePrefixes reads subnets separated by commas.
func parsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for field := range strings.SplitSeq(list, ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(field)
		if err != nil {
			return nil, fmt.Errorf("%q is not a subnet such as 10.244.0.0/16", field)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// healthz answers 200 once ready is closed. A request that comes earlier waits
// for that as long as its sender does.
func healthz(ready <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ready:
			fmt.Fprintln(w, "ok")
		case <-r.Context().Done():
		}
	})
}

// policyInterval is how long changes are gathered before they are applied.
const policyInterval = 50 * time.Millisecond

// keepPolicies keeps the node's NetworkPolicy rules in step with what the
// mirrors hold. A change after a quiet time is applied at once; more of them
// are gathered for policyInterval.
//
// A pod is covered from when its IP address is in its status: until then a
// container that is quick can use the network as if no policy selected it.
func keepPolicies(ctx context.Context, log *slog.Logger, nodeName string, enforcer *policy.Enforcer,
	pods *mirror[policy.Pod], namespaces *mirror[policy.Namespace], policies *mirror[policy.Policy]) {
	// Deciding on half of the objects would cut off what is allowed.
	for _, synced := range []<-chan struct{}{pods.synced, namespaces.synced, policies.synced} {
		select {
		case <-synced:
		case <-ctx.Done():
			return
		}
	}
	backoff := retry{}
	for {
		plan := policy.NewPlan(nodeName, pods.list(), namespaces.list(), policies.list())
		pause := policyInterval
		if err := enforcer.Apply(ctx, plan); err != nil && ctx.Err() == nil {
			pause = backoff.next()
			log.Error("cannot apply NetworkPolicy rules, trying again", "in", pause, "err", err)
		} else {
			backoff.reset()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if backoff.failing() {
			continue
		}
		select {
		case <-pods.changed:
		case <-namespaces.changed:
		case <-policies.changed:
		case <-ctx.Done():
			return
		}
	}
}
