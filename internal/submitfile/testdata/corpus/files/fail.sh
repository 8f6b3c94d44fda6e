echo gen = x
exit 3
