package main

import "github.com/spf13/cobra"

func install() *cobra.Command   { return &cobra.Command{Use: "install"} }
func uninstall() *cobra.Command { return &cobra.Command{Use: "uninstall"} }
