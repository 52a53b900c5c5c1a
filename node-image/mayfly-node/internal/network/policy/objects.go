// Package policy enforces NetworkPolicy for the pods of one node.
//
// objects.go reads the API objects, plan.go decides from them what may pass,
// nftables.go puts that into the kernel. The plan is plain data and knows
// nothing of nftables.
package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Pod is what matters of a pod here. A pod without addresses is of no interest:
// it has none yet, has ended, or uses those of its node, and then no policy
// selects it and no peer means it.
type Pod struct {
	Namespace, Name, Node string
	Labels                labels.Set
	IPs                   []netip.Addr
	NamedPorts            []NamedPort
}

// NamedPort is a port of a container that policies may refer to by its name.
type NamedPort struct {
	Name     string
	Protocol corev1.Protocol
	Port     uint16
}

// Namespace is a namespace's name and labels.
type Namespace struct {
	Name   string
	Labels labels.Set
}

// Policy is a NetworkPolicy without its metadata.
type Policy struct {
	Namespace, Name string
	Spec            networkingv1.NetworkPolicySpec
}

// PodFrom reads a *corev1.Pod.
func PodFrom(obj runtime.Object) Pod {
	object := obj.(*corev1.Pod)
	pod := Pod{Namespace: object.Namespace, Name: object.Name, Node: object.Spec.NodeName}
	ended := object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
	if object.Spec.HostNetwork || ended {
		return pod
	}
	for _, podIP := range object.Status.PodIPs {
		if ip, err := netip.ParseAddr(podIP.IP); err == nil {
			pod.IPs = append(pod.IPs, ip.Unmap())
		}
	}
	if len(pod.IPs) == 0 {
		return pod
	}
	pod.Labels = object.Labels
	addPorts := func(container *corev1.Container) {
		for _, port := range container.Ports {
			if port.Name == "" {
				continue
			}
			protocol := port.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			pod.NamedPorts = append(pod.NamedPorts, NamedPort{port.Name, protocol, uint16(port.ContainerPort)})
		}
	}
	for i := range object.Spec.Containers {
		addPorts(&object.Spec.Containers[i])
	}
	for i := range object.Spec.InitContainers {
		container := &object.Spec.InitContainers[i]
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			addPorts(container) // a sidecar
		}
	}
	return pod
}

// NamespaceFrom reads a *corev1.Namespace.
func NamespaceFrom(obj runtime.Object) Namespace {
	object := obj.(*corev1.Namespace)
	return Namespace{Name: object.Name, Labels: object.Labels}
}

// PolicyFrom reads a *networkingv1.NetworkPolicy.
func PolicyFrom(obj runtime.Object) Policy {
	object := obj.(*networkingv1.NetworkPolicy)
	return Policy{Namespace: object.Namespace, Name: object.Name, Spec: object.Spec}
}
