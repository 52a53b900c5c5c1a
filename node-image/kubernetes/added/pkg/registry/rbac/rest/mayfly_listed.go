// Package rest is a part of Kubernetes' package of that name: the build of the
// node image puts this file beside storage_rbac.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// At each start the API server compares the roles and bindings that are there
// with those that it wants, and asks for them one by one: 140 requests, while
// everything else waits for its health. Here all are asked for at once.
package rest

import (
	"context"

	rbacapiv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	rbacv1client "k8s.io/client-go/kubernetes/typed/rbac/v1"
)

// listedClusterRoles answers the first Get of a role from a list of all. Whoever
// asks again does so because the role has changed since.
type listedClusterRoles struct {
	rbacv1client.ClusterRoleInterface
	notAskedFor map[string]rbacapiv1.ClusterRole
}

func listClusterRoles(client clientset.Interface) (rbacv1client.ClusterRoleInterface, error) {
	roles := client.RbacV1().ClusterRoles()
	all, err := roles.List(context.TODO(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byName := make(map[string]rbacapiv1.ClusterRole, len(all.Items))
	for _, role := range all.Items {
		byName[role.Name] = role
	}
	return listedClusterRoles{roles, byName}, nil
}

func (l listedClusterRoles) Get(ctx context.Context, name string, options metav1.GetOptions) (*rbacapiv1.ClusterRole, error) {
	role, known := l.notAskedFor[name]
	if !known {
		return l.ClusterRoleInterface.Get(ctx, name, options)
	}
	delete(l.notAskedFor, name)
	return &role, nil
}

// listedClusterRoleBindings is the same for bindings.
type listedClusterRoleBindings struct {
	rbacv1client.ClusterRoleBindingInterface
	notAskedFor map[string]rbacapiv1.ClusterRoleBinding
}

func listClusterRoleBindings(client clientset.Interface) (rbacv1client.ClusterRoleBindingInterface, error) {
	bindings := client.RbacV1().ClusterRoleBindings()
	all, err := bindings.List(context.TODO(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byName := make(map[string]rbacapiv1.ClusterRoleBinding, len(all.Items))
	for _, binding := range all.Items {
		byName[binding.Name] = binding
	}
	return listedClusterRoleBindings{bindings, byName}, nil
}

func (l listedClusterRoleBindings) Get(ctx context.Context, name string, options metav1.GetOptions) (*rbacapiv1.ClusterRoleBinding, error) {
	binding, known := l.notAskedFor[name]
	if !known {
		return l.ClusterRoleBindingInterface.Get(ctx, name, options)
	}
	delete(l.notAskedFor, name)
	return &binding, nil
}
