// Package clientbuilder is a part of Kubernetes' package of that name: the build of
// the node image puts this file beside client_builder_dynamic.go, which is made to
// use it (src/node-image/kubernetes-changes.ts).
//
// Before it makes a controller's client, and again before it asks for its token, a
// controller manager looks whether the controller's service account is there: sixty
// requests one after another, while the cluster waits for its controllers.
// Here it looks once for each account, and again when a token was refused because
// the account is gone.
package clientbuilder

// ensureServiceAccount creates the account of a controller that has no client yet, if it is not there.
func (t *DynamicControllerClientBuilder) ensureServiceAccount(name string) error {
	t.mutex.Lock()
	_, isKnown := t.roundTripperFuncMap[name]
	t.mutex.Unlock()
	if isKnown {
		return nil
	}
	_, err := getOrCreateServiceAccount(t.CoreClient, t.Namespace, name)
	return err
}

// restoreServiceAccount creates the account again that was gone when a token was last asked for.
func (ts *tokenSourceImpl) restoreServiceAccount() error {
	if !ts.isGone {
		return nil
	}
	_, err := getOrCreateServiceAccount(ts.coreClient, ts.namespace, ts.serviceAccountName)
	return err
}
