print("moe-infer")
