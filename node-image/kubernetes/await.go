package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	lookEvery = 30 * time.Millisecond
	// What never comes must not keep its own diagnosis from coming: the component
	// says better than its absence what it lacks.
	lookFor = time.Minute
)

// awaitDependency returns when that answers without which a component could
// only fail and try again, after a second or more: etcd for the API server, the
// API server for the controller manager and the scheduler. All of them can be
// started at once then, and none takes processor time from the one it waits for.
func awaitDependency(component string, args []string) {
	ready := map[string]func(args []string) func(context.Context) bool{
		"kube-apiserver":          etcdListens,
		"kube-controller-manager": apiServerIsHealthy,
		"kube-scheduler":          apiServerIsHealthy,
	}[component]
	if ready == nil {
		return
	}
	isReady := ready(args)
	if isReady == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	waited := false
	for !isReady(ctx) && ctx.Err() == nil {
		waited = true
		time.Sleep(lookEvery)
	}
	if waited && ctx.Err() != nil {
		fmt.Fprintf(os.Stderr, "%s starts without what it depends on, which did not answer for %v\n", component, lookFor)
	}
}

// etcdListens asks the servers that the API server is told to use.
func etcdListens(args []string) func(context.Context) bool {
	var addresses []string
	for server := range strings.SplitSeq(flagValue(args, "etcd-servers"), ",") {
		if parsed, err := url.Parse(server); err == nil && parsed.Host != "" {
			addresses = append(addresses, parsed.Host)
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	return func(ctx context.Context) bool {
		for _, address := range addresses {
			if connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
				connection.Close()
				return true
			}
		}
		return false
	}
}

// apiServerIsHealthy asks what the controller manager itself asks for, once a second.
func apiServerIsHealthy(args []string) func(context.Context) bool {
	config, err := clientcmd.BuildConfigFromFlags("", flagValue(args, "kubeconfig"))
	if err != nil {
		return nil
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil
	}
	return func(ctx context.Context) bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/healthz", nil)
		if err != nil {
			return false
		}
		answer, err := client.Do(request)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}
}

// flagValue finds the last `--name=value`, as kubeadm writes flags; "" when there is none.
func flagValue(args []string, name string) string {
	value := ""
	for _, arg := range args {
		if given, is := strings.CutPrefix(arg, "--"+name+"="); is {
			value = given
		}
	}
	return value
}
