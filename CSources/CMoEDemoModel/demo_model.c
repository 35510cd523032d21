int moe_demo_placeholder;
