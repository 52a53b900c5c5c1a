// Command kubernetes-tools is what people and the build of a node image run of
// Kubernetes, in one file whose name chooses the tool.
//
// They are not in the file of the components, because Go initialises every package of a
// file before it starts: a quarter of the time that a component took for that was
// these tools', and what it left in memory stayed with each.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's credential plugins
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmutil "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	"mayfly.io/node-image/kubernetes/internal/multicall"
)

var tools = multicall.Programs{
	"kubeadm": func() { kubeadmutil.HandleError(kubeadm.Run()) },
	"kubectl": runKubectl,
}

func main() {
	tools[tools.Named()]()
}

func runKubectl() {
	// Verbosity has to count while the command is being put together: plugins
	// and the kuberc file are read there, before flags are parsed.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
