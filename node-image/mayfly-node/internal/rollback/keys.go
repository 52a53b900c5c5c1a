// Package rollback takes a running control plane back to a state that was saved
// before: it writes the difference between etcd's keys and the saved ones into
// etcd while everything runs, and ends what runs on the nodes without an object.
package rollback

import (
	"slices"
	"strings"
)

// care says what a roll-back does about a key.
type care int

const (
	// exact keys get the saved value; those that were not saved go.
	exact care = iota
	// spliced objects are partly written by their node, which goes on doing
	// so: only what others may set goes back.
	spliced
	// derived objects are computed by controllers from others; they go with
	// the Service that they belong to and are left alone otherwise.
	derived
	// loose objects expire or are renewed by whoever has them: new ones go,
	// the saved ones are left to their owners.
	loose
	// untouched keys are the cluster's own heartbeat.
	untouched
	// dropped keys are never saved, and go.
	dropped
)

const (
	podPrefix     = "/registry/pods/"
	nodePrefix    = "/registry/minions/"
	volumePrefix  = "/registry/persistentvolumes/"
	servicePrefix = "/registry/services/specs/"
)

// cares has the first prefix that a key begins with; all others are exact.
var cares = []struct {
	prefix string
	care   care
}{
	{"/registry/events/", dropped},
	{"/registry/events.k8s.io/", dropped},
	{"/registry/masterleases/", untouched},
	{"/registry/peerserverleases/", untouched},
	{"/registry/leases/kube-node-lease/", untouched},
	{"/registry/leases/kube-system/apiserver-", untouched},
	{"/registry/leases/", loose},
	{"/registry/certificatesigningrequests/", loose},
	{podPrefix, spliced},
	{nodePrefix, spliced},
	{"/registry/endpointslices/", derived},
	{"/registry/services/endpoints/", derived},
}

func careOf(key string) care {
	for _, c := range cares {
		if strings.HasPrefix(key, c.prefix) {
			return c.care
		}
	}
	return exact
}

// ranks is the order in which objects go: first those through which others act,
// so that nobody makes anew what is deleted next.
var ranks = [][]string{
	{
		"/registry/admissionregistration.k8s.io/", "/registry/validatingwebhookconfigurations/",
		"/registry/mutatingwebhookconfigurations/", "/registry/validatingadmissionpolicies/",
		"/registry/validatingadmissionpolicybindings/", "/registry/mutatingadmissionpolicies/",
		"/registry/mutatingadmissionpolicybindings/", "/registry/namespaces/",
		"/registry/apiregistration.k8s.io/",
	},
	{
		"/registry/clusterrolebindings/", "/registry/rolebindings/", "/registry/clusterroles/", "/registry/roles/",
		"/registry/serviceaccounts/", "/registry/apiextensions.k8s.io/",
	},
	{
		"/registry/cronjobs/", "/registry/horizontalpodautoscalers/", "/registry/deployments/",
		"/registry/jobs/", "/registry/daemonsets/", "/registry/statefulsets/", "/registry/replicasets/",
		"/registry/controllers/", "/registry/services/specs/",
	},
}

const lastRank = 3

func rankOf(key string) int {
	rank := slices.IndexFunc(ranks, func(prefixes []string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	})
	if rank < 0 {
		return lastRank
	}
	return rank
}
