# Tokens in a manifest that is applied where tokenfs is mounted: FACTER_tokens=/run/tokens/dns FACTER_target=/etc/resolver
# puppet apply resolver.pp. A second run changes nothing; after a rotation, both files change.
$token = Sensitive(file("${facts['tokens']}/.by_name/web/value"))

file { "${facts['target']}/resolver.conf":
  mode    => '0600',
  content => Sensitive("url = https://resolver.example/dns-query?token=${token.unwrap}\n"),
}

file { "${facts['target']}/token":
  mode      => '0600',
  source    => "file://${facts['tokens']}/.by_name/web/value",
  show_diff => false,
}
