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
	// What controllers make of a Service.
	slicePrefix     = "/registry/endpointslices/"
	endpointsPrefix = "/registry/services/endpoints/"
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
	{slicePrefix, derived},
	{endpointsPrefix, derived},
}

func careOf(key string) care {
	for _, c := range cares {
		if strings.HasPrefix(key, c.prefix) {
			return c.care
		}
	}
	return exact
}

// actors are those through which others act: what follows from them would come
// back as long as they are there.
var actors = []string{
	"/registry/apiextensions.k8s.io/", "/registry/apiregistration.k8s.io/",
	"/registry/clusterrolebindings/", "/registry/clusterroles/", "/registry/cronjobs/",
	"/registry/horizontalpodautoscalers/", "/registry/mutatingadmissionpolicies/",
	"/registry/mutatingadmissionpolicybindings/", "/registry/mutatingwebhookconfigurations/",
	"/registry/namespaces/", "/registry/rolebindings/", "/registry/roles/", "/registry/serviceaccounts/",
	"/registry/validatingadmissionpolicies/", "/registry/validatingadmissionpolicybindings/",
	"/registry/validatingwebhookconfigurations/",
}

func isActor(key string) bool {
	return slices.ContainsFunc(actors, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}
